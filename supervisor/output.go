package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// An Output is the log of a run, opened for reading. If the log is rotated, its files
// are read as one, the oldest first. A position is a number of bytes from the first one
// that was there when the Output was opened; a place is a number of bytes from the first
// one that the run ever wrote, and so means the same to another Output. One goroutine at a time may use an
// Output.
type Output struct {
	open    func(name string) (*os.File, error)
	keep    int  // how many older files there may be
	rotates bool // a newer file may come
	parts   []part
}

// A part is one file of an output, or the text that stands for output which is gone.
type part struct {
	io.ReaderAt
	file   *os.File // nil: a text
	from   int64    // its place
	placed bool     // the file system knows its place
	at     int64    // its position
	size   int64    // of the last part: at the latest look
}

// OpenOutput opens the log of a run. The function opens a file of the run's directory as
// [Supervisor.Open] does. The caller closes the Output. The error is fs.ErrNotExist if
// there is no log yet.
func OpenOutput(open func(name string) (*os.File, error)) (*Output, error) {
	o := &Output{open: open}
	if err := o.readSpec(); err != nil {
		return nil, err
	}
	files, _, err := o.files(nil, 0)
	if err == nil && len(files) == 0 {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = o.add(files)
	}
	if err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// readSpec finds out whether the log is rotated. If the specification cannot be read,
// there is nothing but the log.
func (o *Output) readSpec() error {
	f, err := o.open(wrapper.SpecFile)
	if err == nil {
		var data string
		if data, err = readAll(f, maxSpec); err == nil {
			o.keep, o.rotates = rotation(data)
		}
	}
	if lacking(err) {
		return err
	}
	return nil
}

// rotation returns what a specification says about the rotation of the log.
func rotation(spec string) (keep int, rotates bool) {
	if s, err := wrapper.ParseSpec(spec); err == nil && s.LogRotate > 0 {
		return s.LogKeep, true
	}
	return 0, false
}

// files opens the files of the log that are newer than known, which ends at a place. The
// newest comes first. Missing means that there is no log, only older files.
//
// Files may be renamed meanwhile, but only to higher numbers, which are looked at later. So
// none is missed for which there is a newer one, but one may be met twice.
func (o *Output) files(known *os.File, end int64) (files []part, missing bool, err error) {
	defer func() {
		if err != nil {
			closeParts(files)
			files = nil
		}
	}()
	met := false
	for n := 0; n <= o.keep && !met; n++ {
		name := wrapper.LogFile
		if n > 0 {
			name = wrapper.LogPart(n)
		}
		f, err := o.open(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = missing || n == 0
			continue
		case n > 0 && errors.Is(err, fault.Invalid): // a script put it there
			continue
		case err != nil:
			return files, missing, err
		case same(f, known):
			_ = f.Close()
			met = true
			continue
		}
		if i := slices.IndexFunc(files, func(p part) bool { return same(p.file, f) }); i >= 0 {
			_ = files[i].file.Close()
			files = slices.Delete(files, i, i+1)
		}
		p := part{ReaderAt: f, file: f}
		p.from, p.placed = placeOfFile(f)
		files = append(files, p)
	}
	// Without attributes this keeps the order of the names.
	slices.SortStableFunc(files, func(a, b part) int { return cmp.Compare(b.from, a.from) })
	if known == nil {
		return files, missing, nil
	}
	for i, p := range files {
		// If known was removed, files that are older than it are among these.
		if p.placed && p.from < end || !p.placed && !met && (i > 0 || missing) {
			closeParts(files[i:])
			return files[:i], missing, nil
		}
	}
	return files, missing, nil
}

func closeParts(files []part) {
	for _, p := range files {
		_ = p.file.Close()
	}
}

func same(a, b *os.File) bool {
	if a == nil || b == nil {
		return false
	}
	x, err := a.Stat()
	y, err2 := b.Stat()
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// add adds files that are newer than the parts. The newest comes first.
func (o *Output) add(files []part) error {
	for i, p := range slices.Backward(files) {
		end := o.end()
		if !p.placed {
			p.from = end
		}
		if gap := p.from - end; i == len(files)-1 && gap > 0 && len(o.parts) > 0 {
			o.parts = append(o.parts, missing(gap, end, o.Size()))
		}
		p.at = o.Size()
		info, err := p.file.Stat()
		if err != nil {
			closeParts(files[:i+1])
			return err
		}
		p.size = info.Size()
		o.parts = append(o.parts, p)
	}
	return nil
}

// missing returns the part that stands for n bytes that are gone.
func missing(n, from, at int64) part {
	text := fmt.Sprintf("[activationd: %d bytes of output are missing here: they were rotated away]\n", n)
	return part{ReaderAt: strings.NewReader(text), from: from, at: at, size: int64(len(text))}
}

// end returns the place after the last part.
func (o *Output) end() int64 {
	if len(o.parts) == 0 {
		return 0
	}
	p := o.parts[len(o.parts)-1]
	return p.from + p.size
}

// placeOfFile returns where a file of a rotated log begins in the output.
func placeOfFile(f *os.File) (place int64, ok bool) {
	var buf [32]byte
	n := 0
	err := control(f, func(fd int) (err error) {
		n, err = unix.Fgetxattr(fd, wrapper.LogFrom, buf[:])
		return err
	})
	if err != nil {
		return 0, false
	}
	place, err = strconv.ParseInt(string(buf[:n]), 10, 64)
	return place, err == nil && place >= 0
}

// Size returns the position after the last byte that was there at the latest look.
func (o *Output) Size() int64 {
	if len(o.parts) == 0 {
		return 0
	}
	p := o.parts[len(o.parts)-1]
	return p.at + p.size
}

// ReadAt reads from a position on. It implements [io.ReaderAt].
func (o *Output) ReadAt(b []byte, at int64) (n int, err error) {
	for i, p := range o.parts {
		last := i == len(o.parts)-1
		if at >= p.at+p.size && !last {
			continue
		}
		piece := b[n:]
		if !last {
			piece = piece[:min(int64(len(piece)), p.at+p.size-at)]
		}
		k, err := p.ReadAt(piece, at-p.at)
		n, at = n+k, at+int64(k)
		if n == len(b) {
			return n, nil
		}
		if k < len(piece) {
			return n, err
		}
	}
	return n, io.EOF
}

// Place returns the place of a position.
func (o *Output) Place(at int64) int64 {
	for i, p := range o.parts {
		if at < p.at+p.size || i == len(o.parts)-1 {
			if p.file == nil { // a text
				return p.from
			}
			return p.from + at - p.at
		}
	}
	return at
}

// Find returns the position of a place. If output was removed after that place, a text
// that says so is put in front of what is left.
func (o *Output) Find(place int64) (at int64) {
	if gone := o.parts[0].from - place; gone > 0 {
		text := missing(gone, place, 0)
		for i := range o.parts {
			o.parts[i].at += text.size
		}
		o.parts = append([]part{text}, o.parts...)
		return 0
	}
	for i, p := range o.parts {
		if place < p.from+p.size || i == len(o.parts)-1 {
			return p.at + max(place-p.from, 0)
		}
	}
	return 0
}

// Look looks for newer files of a log that is rotated, and closes those that end before a
// position. Missing means that the log is just being replaced: there will be no other
// event that says so.
func (o *Output) Look(passed int64) (missing bool, err error) {
	if !o.rotates {
		return false, nil
	}
	p := &o.parts[len(o.parts)-1]
	info, err := p.file.Stat()
	if err != nil {
		return false, err
	}
	files, missing, err := o.files(p.file, p.from+info.Size())
	if err != nil {
		return false, err
	}
	if len(files) > 0 {
		if info, err = p.file.Stat(); err != nil { // it has its last size, now that there is a newer one
			closeParts(files)
			return false, err
		}
		p.size = max(info.Size(), passed-p.at) // it is smaller than what was read if somebody has truncated it
		if err := o.add(files); err != nil {
			return false, err
		}
	}
	for len(o.parts) > 1 && o.parts[0].at+o.parts[0].size <= passed {
		if f := o.parts[0].file; f != nil {
			_ = f.Close()
		}
		o.parts = o.parts[1:]
	}
	return missing, nil
}

// Newest returns the newest file, which the Output closes.
func (o *Output) Newest() *os.File { return o.parts[len(o.parts)-1].file }

// Close closes all files.
func (o *Output) Close() {
	for _, p := range o.parts {
		if p.file != nil {
			_ = p.file.Close()
		}
	}
}
