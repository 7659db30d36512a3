// Package archtest holds the shape of the module: which package may import
// which, and why. It decides nothing at run time; all of it is tests.
package archtest
