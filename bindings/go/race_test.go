//go:build race

package rsscript_test

// The race detector keeps memory of its own for what the program uses.
const raceDetector = true
