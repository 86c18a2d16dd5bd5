//go:build !race

package rsscript_test

const raceDetector = false
