//go:build !race

package broker

const withRaceDetector = false
