package lab

import (
	"embed"
	"strings"
)

//go:embed platforms/*.yaml
var builtIn embed.FS

// BuiltInPlatforms returns the names of the platforms that come with the program,
// sorted.
func BuiltInPlatforms() []string {
	entries, _ := builtIn.ReadDir("platforms") // it is there, or this would not compile
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}
