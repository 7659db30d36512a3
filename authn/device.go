package authn

import "strings"

// Device names the browser and system of a User-Agent in a few words, for the
// list of sessions. It is a guess for people and decides nothing.
func Device(ua string) string {
	browser := first(ua, "Edg/", "Edge", "OPR/", "Opera", "Firefox/", "Firefox", "Chromium/", "Chromium", "Chrome/", "Chrome", "Safari/", "Safari")
	system := first(ua, "Android", "Android", "iPhone", "iPhone", "iPad", "iPad", "Windows", "Windows", "Mac OS", "macOS", "CrOS", "ChromeOS", "Linux", "Linux")
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "" || system != "":
		return browser + system
	case ua == "":
		return "Unknown device"
	}
	name, _, _ := strings.Cut(ua, " ")
	return cut(name, 40)
}

// first returns the name beside the first mark that occurs; pairs are mark,
// name.
func first(s string, pairs ...string) string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if strings.Contains(s, pairs[i]) {
			return pairs[i+1]
		}
	}
	return ""
}
