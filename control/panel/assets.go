package panel

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// An asset is a file of the panel.
type asset struct {
	kind          string // its Content-Type
	plain, zipped []byte
}

func (p *Panel) loadAssets() error {
	p.assets = make(map[string]*asset)
	all := sha256.New()
	entries, err := fs.ReadDir(files, "static")
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			return err
		}
		all.Write(data)
		kind := mime.TypeByExtension(path.Ext(e.Name()))
		if path.Ext(e.Name()) == ".js" {
			kind = "text/javascript; charset=utf-8" // whatever the machine's table says
		}
		p.assets[e.Name()] = &asset{kind: kind, plain: data, zipped: zip(data)}
	}
	p.version = hex.EncodeToString(all.Sum(nil)[:4])
	return nil
}

// asset serves a file. Its address has the version of all files, so browsers may keep it.
func (p *Panel) asset(w http.ResponseWriter, r *http.Request) {
	a := p.assets[r.PathValue("file")]
	if a == nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Content-Security-Policy", policy)
	switch tag := `"` + p.version + `"`; {
	case r.URL.RawQuery == p.version:
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	default: // a module that another one imports has no version in its address
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if acceptsGzip(r) {
		write(w, http.StatusOK, a.zipped, "gzip")
	} else {
		write(w, http.StatusOK, a.plain, "")
	}
}

// deliver writes a page.
func deliver(w http.ResponseWriter, r *http.Request, code int, data []byte) {
	if acceptsGzip(r) && len(data) > 1400 { // less fits into a packet
		write(w, code, zip(data), "gzip")
		return
	}
	write(w, code, data, "")
}

func write(w http.ResponseWriter, code int, data []byte, encoding string) {
	h := w.Header()
	h.Add("Vary", "Accept-Encoding, Cookie")
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(code)
	_, _ = w.Write(data) // an error means that the client has gone
}

func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(coding), ";")
		if strings.EqualFold(name, "gzip") && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

func zip(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}
