package web

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"activationd/control"
	"activationd/internal/fault"
)

// The reply to a GET of one thing has an ETag: VERSION.DIGEST, or only DIGEST if the thing has no
// version. The digest is of the reply. The version is of what is stored, on which alone a change
// can depend: a reply also has what follows from other things.

// versionArg is the argument that an operation has if it can depend on a version, and the field
// of a thing that has one.
const versionArg = "version"

// versionLen is the length of a version.
const versionLen = 16

// ifMatch returns the versions in the header If-Match; none: there is no condition.
func ifMatch(r *http.Request, op *control.Op) (versions []string, err error) {
	tags := r.Header.Values("If-Match")
	if len(tags) == 0 {
		return nil, nil
	}
	if !op.Takes([]byte(versionArg)) {
		return nil, fmt.Errorf("If-Match: %s cannot depend on a version; leave it out: %w", op.Name, fault.Invalid)
	}
	all := tagsOf(tags)
	if len(all) == 0 {
		return nil, fmt.Errorf("If-Match: it is empty; give the ETag of a reply: %w", fault.Invalid)
	}
	for _, tag := range all {
		if tag == "*" {
			return nil, nil // what is not there cannot be changed anyway
		}
		version, _, ok := strings.Cut(tag, ".")
		if !ok {
			return nil, fmt.Errorf("If-Match: %.80q is not the ETag of something that has a version: %w", tag, fault.Invalid)
		}
		versions = append(versions, version)
	}
	return versions, nil
}

// tagsOf returns the tags in a header, without quotes. A front server that compresses replies
// makes tags weak; they are compared all the same, because they name what was in the reply.
func tagsOf(headers []string) (tags []string) {
	for _, h := range headers {
		for tag := range strings.SplitSeq(h, ",") {
			tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
			if tag != "" {
				tags = append(tags, tag)
			}
		}
	}
	return tags
}

// known sets the ETag of a reply, and reports whether the client has that reply already.
func known(w http.ResponseWriter, r *http.Request, body []byte) bool {
	sum := sha256.Sum256(body)
	tag := hex.EncodeToString(sum[:8])
	if version := versionOf(body); version != "" {
		tag = version + "." + tag
	}
	w.Header().Set("ETag", `"`+tag+`"`)
	tags := tagsOf(r.Header.Values("If-None-Match"))
	return slices.Contains(tags, tag) || slices.Contains(tags, "*")
}

// versionOf returns the version of a thing in JSON; empty: it has none.
func versionOf(body []byte) string {
	var thing struct{ Version string }
	if json.Unmarshal(body, &thing) != nil || len(thing.Version) != versionLen {
		return "" // the version of a program, say
	}
	return thing.Version
}
