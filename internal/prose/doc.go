// Package prose tests the project's texts, and holds nothing else.
//
// words.tsv lists wordings at which a native reader stops, and what to write
// instead; exceptions.tsv lists the places where such a wording is right, each with
// its reason. The names of Go code and of files that ARCHITECTURE.md mentions must
// exist.
package prose
