// Package web is how gatehouse answers for itself: one error type, one
// renderer (problem+json for programs, a page for people), the pages and their
// assets. It decides nothing about who may do what and knows no store, token
// or route.
package web

import (
	"fmt"
	"time"
)

// Error is an answer that is not a success. Detail and the field details are
// constant, human sentences of ours; Cause is for the log and never leaves.
type Error struct {
	Status     int    // HTTP status
	Code       string // stable, snake_case; also the value of Gatehouse-Response
	Detail     string
	Fields     []Field       // all problems with the input at once
	RetryAfter time.Duration // required with 429 and 503; rounded up to seconds
	Challenges []string      // WWW-Authenticate values; a 401 without any gets Bearer
	Cause      error
}

// Field is a problem with one input field.
type Field struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Error implements error for the log: code and cause.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Code
	}
	return fmt.Sprintf("%s: %v", e.Code, e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }
