package web

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// problem is the one shape of a failure for programs (RFC 9457). The type is
// about:blank throughout, so title is the status phrase; code tells more.
type problem struct {
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail"`
	Code      string  `json:"code"`
	RequestID string  `json:"request_id"`
	Errors    []Field `json:"errors,omitempty"`
}

// Fail answers with e: a page for a navigation or a browser's form, a
// grpc-status for gRPC, problem+json otherwise. It records e.Code and e.Cause
// in the Record.
func (u *UI) Fail(w http.ResponseWriter, r *http.Request, e *Error) {
	e = complete(e)
	switch {
	case isGRPC(r):
		u.grpc(w, r, e)
	case u.wantsPage(r):
		u.errorPage(w, r, e)
	default:
		u.problem(w, r, e)
	}
}

// complete returns e with everything an answer needs; e itself stays as it is.
func complete(e *Error) *Error {
	if e == nil {
		e = &Error{}
	}
	full := *e
	if full.Status < 400 || full.Status > 599 {
		full.Status = http.StatusInternalServerError
	}
	if full.Code == "" {
		full.Code = "internal_error"
	}
	if full.Detail == "" {
		full.Detail = sentence(full.Status)
	}
	if full.Status == http.StatusUnauthorized && len(full.Challenges) == 0 {
		full.Challenges = []string{`Bearer realm="gatehouse"`}
	}
	if (full.Status == http.StatusTooManyRequests || full.Status == http.StatusServiceUnavailable) && full.RetryAfter <= 0 {
		full.RetryAfter = 5 * time.Second
	}
	return &full
}

// failure sets the headers of a failed answer, after own.
func failure(w http.ResponseWriter, e *Error) {
	h := w.Header()
	h.Del("Www-Authenticate")
	h.Del("Retry-After")
	for _, c := range e.Challenges {
		h.Add("WWW-Authenticate", c)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(seconds(e.RetryAfter)))
	}
	if e.Cause != nil {
		RecordOf(w).Err = e.Cause
	}
}

// seconds rounds up: a client told to wait too little would be refused again.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

func (u *UI) problem(w http.ResponseWriter, r *http.Request, e *Error) {
	body, err := json.Marshal(problem{
		Type: "about:blank", Title: http.StatusText(e.Status), Status: e.Status, Detail: e.Detail,
		Code: e.Code, RequestID: RecordOf(w).ID, Errors: e.Fields,
	})
	if err != nil { // strings and numbers always encode
		body = []byte("{}")
	}
	own(w, e.Code)
	failure(w, e)
	send(w, r, e.Status, "application/problem+json", append(body, '\n'))
}

// grpc answers in the form "trailers only": a 200 whose header block is the
// trailers, and nothing else.
func (u *UI) grpc(w http.ResponseWriter, r *http.Request, e *Error) {
	own(w, e.Code)
	failure(w, e)
	h := w.Header()
	h.Set("Content-Type", mediaType(r.Header.Get("Content-Type")))
	h.Set("Grpc-Status", strconv.Itoa(grpcStatus(e.Status)))
	h.Set("Grpc-Message", grpcMessage(e.Detail))
	w.WriteHeader(http.StatusOK)
}

// grpcStatus maps an HTTP status of ours to the gRPC code that makes clients do
// the right thing; 14 (unavailable) is the one they retry.
func grpcStatus(status int) int {
	switch status {
	case http.StatusUnauthorized:
		return 16
	case http.StatusForbidden:
		return 7
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMisdirectedRequest, http.StatusNotImplemented:
		return 12
	case http.StatusTooManyRequests, http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return 8
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return 14
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return 4
	case http.StatusConflict:
		return 10
	}
	if status < http.StatusInternalServerError {
		return 3
	}
	return 13
}

// heading is the title of the error page for a status.
func heading(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "That request was not understood"
	case http.StatusUnauthorized:
		return "Please sign in"
	case http.StatusForbidden:
		return "You cannot open this"
	case http.StatusNotFound:
		return "Nothing is here"
	case http.StatusMethodNotAllowed:
		return "That cannot be done here"
	case http.StatusRequestEntityTooLarge:
		return "That is too large"
	case http.StatusMisdirectedRequest:
		return "This address is not served here"
	case http.StatusTooManyRequests:
		return "Too many tries"
	case http.StatusBadGateway:
		return "The app is not answering"
	case http.StatusServiceUnavailable:
		return "Not available right now"
	case http.StatusGatewayTimeout:
		return "The app is taking too long"
	}
	if status >= http.StatusInternalServerError {
		return "Something went wrong"
	}
	return http.StatusText(status)
}

// sentence is the detail of an error that came without one.
func sentence(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "Sign in to open this."
	case status == http.StatusForbidden:
		return "Your account is not allowed to do this."
	case status == http.StatusNotFound:
		return "There is nothing at this address."
	case status == http.StatusTooManyRequests:
		return "There were too many requests; please wait a moment."
	case status == http.StatusBadGateway || status == http.StatusGatewayTimeout:
		return "The app behind the gateway did not answer."
	case status == http.StatusServiceUnavailable:
		return "This cannot be answered right now; please try again."
	case status >= http.StatusInternalServerError:
		return "Something went wrong here. It has been logged."
	}
	return "The request was refused."
}
