package config

import (
	"reflect"

	"activationd/internal/diag"
	"activationd/internal/document"
)

// Parse reads a configuration; file is its name in messages. The error, of kind
// fault.Invalid, names every fault in the file by its line. An empty file gives the
// defaults.
func Parse(file string, data []byte) (*Config, error) {
	c := Default()
	faults := c.Read(file, data)
	return c, faults.Err()
}

// Read lays a file over c, which has the defaults, and returns its faults. The caller may
// add to them what only a look at the machine finds; see [Config.Place].
func (c *Config) Read(file string, data []byte) *diag.List {
	c.File = file
	d := &decoder{
		faults: diag.List{File: file},
		places: places{},
		schema: schemaOf(reflect.TypeFor[Config](), ""),
		config: c,
	}
	if root, err := document.Parse(data, 0); err != nil {
		d.faults.Add(err.Line, "%s", err.Text)
	} else if root != nil {
		d.value(root, "", reflect.ValueOf(c).Elem())
	}
	(&checker{Config: c, decoder: d}).check()
	c.where = d.places
	return &d.faults
}

// A Place is where a value stood in the file.
type Place struct {
	Key  string // sources[0].sql.driver
	Line int
}

// Place returns where the value that field points to stood; false if it was not in the file.
func (c *Config) Place(field any) (Place, bool) {
	p, ok := c.where[field]
	return p, ok
}
