package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// finding is what is wrong with one value; the place is known elsewhere.
type finding struct{ message, hint string }

func found(hint, format string, args ...any) *finding {
	return &finding{fmt.Sprintf(format, args...), hint}
}

// setScalar parses text as the type of v and within the limits of f. shown is
// what messages quote: the text as written, without expanded variables.
func setScalar(v reflect.Value, f field, text, shown string) *finding {
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		if bad := setScalar(p.Elem(), f, text, shown); bad != nil {
			return bad
		}
		v.Set(p)
		return nil
	}
	switch shapeOf(v.Type()) {
	case shapeBool:
		return setBool(v, text, shown)
	case shapeInt:
		return setInt(v, f, text, shown)
	case shapeDuration:
		return setDuration(v, f, text, shown)
	case shapeSize:
		return setParsed(v, text, shown, parseSize)
	case shapeRate:
		if text == "" && f.hasDefault {
			return found("", "is empty, but this rate cannot be turned off; write COUNT/PERIOD, as in %s", f.def)
		}
		return setParsed(v, text, shown, parseRate)
	case shapePrefix:
		return setParsed(v, text, shown, parsePrefix)
	}
	if len(f.enum) > 0 && !slices.Contains(f.enum, text) {
		return found(didYouMean(suggest(shown, f.enum)), "%s is not one of %s", quote(shown), oneOf(f.enum))
	}
	if f.required && text == "" {
		return found("", "is empty")
	}
	if strings.ContainsRune(text, 0) {
		return found("", "holds a NUL byte")
	}
	v.SetString(text)
	return nil
}

func setParsed[T any](v reflect.Value, text, shown string, parse func(text, shown string) (T, *finding)) *finding {
	value, bad := parse(text, shown)
	if bad == nil {
		v.Set(reflect.ValueOf(value))
	}
	return bad
}

func setBool(v reflect.Value, text, shown string) *finding {
	switch text {
	case "true", "false":
		v.SetBool(text == "true")
		return nil
	case "yes", "on", "Yes", "On", "True", "TRUE", "YES", "ON", "1":
		return found("write true", "%s is not true or false", quote(shown))
	case "no", "off", "No", "Off", "False", "FALSE", "NO", "OFF", "0":
		return found("write false", "%s is not true or false", quote(shown))
	}
	return found("", "%s is not true or false", quote(shown))
}

func setInt(v reflect.Value, f field, text, shown string) *finding {
	n, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return found(within(f), "%s is too large", quote(shown))
	}
	if err != nil || strconv.FormatInt(n, 10) != text {
		return found("write plain decimal digits, as in "+example(f, "100"), "%s is not a whole number", quote(shown))
	}
	low, high, ok := strings.Cut(f.limits, "..")
	least, _ := strconv.ParseInt(low, 10, 64) // a test parses every range tag
	most, _ := strconv.ParseInt(high, 10, 64)
	if ok && (n < least || n > most) {
		return found(within(f), "%s is out of range", text)
	}
	if n > math.MaxInt32 || n < math.MinInt32 {
		return found("", "%s is too large", text)
	}
	v.SetInt(n)
	return nil
}

func setDuration(v reflect.Value, f field, text, shown string) *finding {
	d, bad := parseDuration(text, shown, example(f, "5m"))
	if bad != nil {
		return bad
	}
	low, high, ok := strings.Cut(f.limits, "..")
	least, _ := time.ParseDuration(low) // a test parses every range tag
	most, _ := time.ParseDuration(high)
	if ok && (d < least || d > most) {
		return found(within(f), "%s is out of range", quote(shown))
	}
	v.SetInt(int64(d))
	return nil
}

// within names the allowed range of f.
func within(f field) string {
	low, high, ok := strings.Cut(f.limits, "..")
	if !ok {
		return ""
	}
	text := "write " + low + " to " + high
	if f.unit != "" {
		text += " " + f.unit
	}
	return text
}

// example is a value that fits f.
func example(f field, otherwise string) string {
	if f.def != "" {
		return f.def
	}
	if low, _, ok := strings.Cut(f.limits, ".."); ok {
		return low
	}
	return otherwise
}

func parseDuration(text, shown, like string) (time.Duration, *finding) {
	d, err := time.ParseDuration(text)
	if n, numErr := strconv.ParseFloat(text, 64); numErr == nil {
		if n == 0 {
			return 0, found("write 0s", "%s has no unit", quote(shown))
		}
		if n == math.Trunc(n) && n >= 0 && n < 1e6 {
			return 0, found(fmt.Sprintf("write %.0fs for seconds, %.0fm for minutes, %.0fh for hours", n, n, n), "%s has no unit", quote(shown))
		}
		return 0, found("write a number with a unit, as in "+like, "%s has no unit", quote(shown))
	}
	if days, ok := strings.CutSuffix(text, "d"); ok && err != nil {
		if n, dayErr := strconv.Atoi(days); dayErr == nil && n > 0 && n < 100000 {
			return 0, found(fmt.Sprintf("write %dh", 24*n), "%s is not a duration: there is no unit d", quote(shown))
		}
	}
	if err != nil {
		return 0, found("write a number with ms, s, m or h, as in "+like, "%s is not a duration", quote(shown))
	}
	if d < 0 {
		return 0, found("", "%s is negative", quote(shown))
	}
	return d, nil
}

// brief writes a duration as in the file: 5m instead of 5m0s.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parseSize reads 64KiB, 10MiB, 2GiB. Empty means not given; 0 is refused.
func parseSize(text, shown string) (Size, *finding) {
	if text == "" {
		return 0, nil
	}
	digits := strings.TrimRight(text, "BKMGTkmgtib ")
	unit := strings.TrimSpace(text[len(digits):])
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || digits != strconv.FormatInt(n, 10) {
		return 0, found("write a whole number with KiB, MiB or GiB, as in 10MiB", "%s is not a size", quote(shown))
	}
	shift, ok := map[string]int{"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[unit]
	switch {
	case n <= 0:
		return 0, found("leave the key out for no limit", "%s does not mean unlimited", quote(shown))
	case !ok && unit == "":
		return 0, found("write "+digits+"B, "+digits+"KiB, "+digits+"MiB or "+digits+"GiB", "%s has no unit", quote(shown))
	case !ok:
		return 0, found("write "+digits+strings.ToUpper(unit[:1])+"iB", "%s is not a size: units are B, KiB, MiB, GiB and TiB", quote(shown))
	case strings.ContainsAny(text, " "):
		return 0, found("write "+digits+unit, "%s is not a size", quote(shown))
	case n > math.MaxInt64>>shift:
		return 0, found("", "%s is too large", quote(shown))
	}
	return Size(n << shift), nil
}

// Bounds of a Rate.
const (
	maxRateCount  = 1_000_000
	maxRatePeriod = 720 * time.Hour
)

// parseRate reads COUNT/PERIOD. Empty means not given; 0 is refused.
func parseRate(text, shown string) (Rate, *finding) {
	if text == "" {
		return Rate{}, nil
	}
	count, period, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	if !ok || err != nil || count != strconv.Itoa(n) {
		return Rate{}, found("write COUNT/PERIOD, as in 5/1m", "%s is not a rate", quote(shown))
	}
	switch period {
	case "s", "m", "h":
		return Rate{}, found("write "+count+"/1"+period, "%s is not a rate: the period has no number", quote(shown))
	}
	per, bad := parseDuration(period, period, "1m")
	switch {
	case bad != nil:
		return Rate{}, found("write COUNT/PERIOD, as in 5/1m", "%s is not a rate", quote(shown))
	case n < 1:
		return Rate{}, found("write a count of 1 or more", "%s is not a rate: 0 does not mean unlimited", quote(shown))
	case n > maxRateCount || per < time.Second || per > maxRatePeriod:
		return Rate{}, found("write 1 to 1000000 per 1s to 720h", "%s is out of range", quote(shown))
	}
	return Rate{Count: n, Per: per}, nil
}

// parsePrefix reads a network in CIDR notation, or a bare address.
func parsePrefix(text, shown string) (Prefix, *finding) {
	if addr, err := netip.ParseAddr(text); err == nil {
		if addr.Zone() != "" || addr.Is4In6() {
			return Prefix{}, found("write the plain IPv4 or IPv6 address", "%s has a zone or is IPv4 inside IPv6", quote(shown))
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return Prefix{}, found("write 10.0.0.0/8 or fd00::/8", "%s is not a network in CIDR notation", quote(shown))
	case p.Addr().Is4In6():
		return Prefix{}, found("write it as IPv4", "%s is IPv4 inside IPv6", quote(shown))
	case p != p.Masked():
		return Prefix{}, found("write "+p.Masked().String(), "%s has bits set outside its mask", quote(shown))
	}
	return p, nil
}
