// Package describe makes the OpenAPI document and the reference page of the HTTP interface of the
// operations' declarations. No program contains it: a test of package docs writes what it makes into
// files, which the daemon serves, and compares them with the declarations from then on.
//
// # What the schemas promise
//
// Inputs are closed: what an operation does not take is refused. Outputs are open: fields may be
// added. A field without omitempty or omitzero is always there; it can be null only if its schema
// says so. A type that marshals itself is in a table here, with its schema, or the document is not
// made.
package describe
