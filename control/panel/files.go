package panel

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"activationd/control"
	"activationd/internal/fault"
)

const (
	fileBytes = 256 << 10 // how much of a file a page shows
	planBytes = 64 << 10  // how much of the difference of a device
	plansAll  = 512 << 10 // and of all devices together
)

// A filesView is what the attempts of an activation have left.
type filesView struct {
	Files []fileRow
	Plans []devicePlan
	Empty string // why there is none

	Closed bool // the caller may not read some of them
}

// A fileRow is a file of an attempt.
type fileRow struct {
	control.File
	Address string // of the page that shows it; empty: the caller may not read it
}

// A devicePlan is what is sent to a device, as a difference.
type devicePlan struct {
	Device         string
	Added, Removed int
	Lines          []diffLine
	Rest           string // not empty: the address of all of it
}

// Open reports whether a difference is short enough to be open from the beginning.
func (d devicePlan) Open() bool { return len(d.Lines) <= 20 }

// A diffLine is a line of a difference.
type diffLine struct{ Sign, Class, Text string }

// filesOf lists the files of an activation, and reads what is sent to each device: the newest attempt says that.
func (p *Panel) filesOf(v *view, it *control.Detail) (out filesView, err error) {
	ctx := v.r.Context()
	all, err := get[control.File](ctx, p, v.Caller, "files", &control.FilesIn{ID: it.ID})
	if k := fault.Of(err); k == fault.NotFound || k == fault.Denied || k == fault.Unavailable {
		return filesView{Empty: sentence(control.OneLine(fault.Text(err)))}, nil
	}
	if err != nil {
		return out, err
	}
	seen, left := make(map[string]bool), plansAll
	for _, f := range all {
		row := fileRow{File: f}
		name, ok := strings.CutSuffix(f.Name, ".diff")
		if !f.Closed {
			row.Address = p.base + "/activations/" + segment(it.ID) + "/file?" + url.Values{"name": {f.Name}, "log": {f.Phase + "." + strconv.Itoa(f.N)}}.Encode()
		} else {
			out.Closed = true
		}
		out.Files = append(out.Files, row)
		if !ok || seen[name] || f.Phase != "activate" || left <= 0 {
			continue
		}
		seen[name] = true
		most := min(planBytes, left)
		data, cut, err := p.readFile(ctx, v.Caller, &control.FileIn{ID: it.ID, Name: f.Name, Phase: f.Phase, Attempt: strconv.Itoa(f.N)}, most)
		if fault.Of(err) == fault.NotFound { // it has been removed meanwhile
			continue
		}
		if err != nil {
			return out, err
		}
		left -= len(data)
		plan := planOf(name, string(data))
		if cut {
			plan.Rest = row.Address
		}
		out.Plans = append(out.Plans, plan)
	}
	if len(out.Files) == 0 {
		out.Empty = "Its attempts have left no files."
	}
	return out, nil
}

// planOf reads a difference: a sign and a line.
func planOf(device, text string) devicePlan {
	d := devicePlan{Device: device}
	for line := range strings.Lines(text) {
		l := diffLine{Sign: " ", Class: "old", Text: plain(strings.TrimRight(line, "\r\n"))}
		if l.Text != "" {
			l.Sign, l.Text = l.Text[:1], l.Text[1:]
		}
		switch l.Sign {
		case "+":
			l.Class = "plus"
			d.Added++
		case "-":
			l.Class = "minus"
			d.Removed++
		default:
			l.Text, l.Sign = strings.TrimPrefix(l.Sign, " ")+l.Text, " "
		}
		d.Lines = append(d.Lines, l)
	}
	return d
}

// errEnough ends the reading of a file.
var errEnough = errors.New("enough of the file was read")

// readFile reads a file, or as much of it as a page shows.
func (p *Panel) readFile(ctx context.Context, c control.Caller, in *control.FileIn, most int) (data []byte, cut bool, err error) {
	err = p.eachPiece(ctx, c, in, func(piece []byte) error {
		data = append(data, piece...)
		if len(data) > most {
			data, cut = data[:most], true
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return data, cut, err
}

func (p *Panel) eachPiece(ctx context.Context, c control.Caller, in *control.FileIn, do func([]byte) error) error {
	return p.registry.Lookup("file").Stream(ctx, c, in, func(line any) error {
		out, ok := line.(control.FileOut)
		if !ok {
			return fmt.Errorf("file: a line is %T: %w", line, fault.Internal)
		}
		piece, err := base64.StdEncoding.DecodeString(out.Base64)
		if err != nil {
			return err
		}
		return do(piece)
	})
}

// fileOf returns which file an address names.
func fileOf(r *http.Request) *control.FileIn {
	in := &control.FileIn{ID: r.PathValue("id"), Name: r.URL.Query().Get("name")}
	in.Phase, in.Attempt, _ = strings.Cut(r.URL.Query().Get("log"), ".")
	return in
}

// fileData is what the page of a file shows.
type fileData struct {
	In       *control.FileIn
	Back     string // the address of the activation's page
	Download string
	Cut      bool // it is longer
	Plan     *devicePlan
	Lines    []logLine
}

func (p *Panel) fillFile(v *view) error {
	d := fileData{In: fileOf(v.r), Back: p.base + "/activations/" + segment(v.r.PathValue("id"))}
	data, cut, err := p.readFile(v.r.Context(), v.Caller, d.In, fileBytes)
	if err != nil {
		return err
	}
	d.Cut, d.Download = cut, d.Back+"/download?"+v.r.URL.RawQuery
	if name, ok := strings.CutSuffix(d.In.Name, ".diff"); ok {
		plan := planOf(name, string(data))
		d.Plan = &plan
	} else {
		d.Lines, _ = paintLines(data, 0, 1, pen{})
	}
	v.Title, v.Data = d.In.Name, d
	return nil
}

// download sends a file as it is. Browsers must not show it: anybody may have written it.
func (p *Panel) download(w http.ResponseWriter, r *http.Request, c Client) {
	in, h, begun := fileOf(r), w.Header(), false
	begin := func() {
		begun = true
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(in.Name)}))
	}
	err := p.eachPiece(r.Context(), c.Caller, in, func(piece []byte) error {
		if !begun {
			begin()
		}
		_, err := w.Write(piece)
		return err
	})
	switch {
	case err != nil && begun:
		panic(http.ErrAbortHandler) // so that what has come is not taken for all of it
	case err != nil:
		p.fail(w, r, c, page{name: "error"}, err)
	case !begun: // it is empty
		begin()
	}
}
