// Package docs has the JSON Schemas of the files that users write, for the programs to print.
// Its test makes them: their structure of the declarations that the readers of the files
// use, and their texts of the documentation.
package docs

import (
	"embed"
)

//go:embed *.schema.json
var schemas embed.FS

const suffix = ".schema.json"

// Schema returns the schema of a file: "config" or "reservations". It returns nil if there is
// none of that name.
func Schema(name string) []byte {
	data, err := schemas.ReadFile(name + suffix)
	if err != nil {
		return nil
	}
	return data
}
