// Package docs has what the programs show of the documentation: the JSON Schemas of the files
// that users write, and the description of the HTTP interface. Its tests make them: the schemas
// of the declarations that the readers of the files use, with the texts of the documentation, and
// the description of the declarations of the operations, with the comments beside these.
package docs

import (
	"embed"
)

//go:embed *.schema.json
var schemas embed.FS

//go:embed openapi.json
var openAPI []byte

//go:embed reference.html
var reference []byte

// OpenAPI returns the OpenAPI document of the HTTP interface. The caller must not change it.
func OpenAPI() []byte { return openAPI }

// Reference returns the reference page of the HTTP interface. The caller must not change it.
func Reference() []byte { return reference }

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
