package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"activationd/control"
)

// largest is how many bytes a picture may have: they are all in the repository.
const largest = 150_000

// pictures are those of the documentation.
var pictures = []struct {
	name, path    string
	width, height int
	night         bool
}{
	{"now", "/", 1200, 800, false},
	{"timeline", "/timeline?group=openvswitch", 1200, 690, false},
	{"agenda", "/timeline?group=frr&view=agenda", 500, 800, false},
	{"stuck", "/activations/" + stuckSlot, 1200, 560, true},
	{"queue", "/queues/broken", 1200, 560, false},
	{"book", "/book?for=2h&kind=frr:2", 1200, 690, false},
}

// takePictures saves the pictures.
func (d *demo) takePictures(ctx context.Context) error {
	if err := os.MkdirAll(d.pictures, 0o755); err != nil {
		return err
	}
	if err := d.untilSettled(ctx); err != nil {
		return err
	}
	for _, p := range pictures {
		file := filepath.Join(d.pictures, p.name+".png")
		args := []string{fmt.Sprintf("--window-size=%d,%d", p.width, p.height)}
		if p.night {
			args = append(args, "--blink-settings=preferredColorScheme=0")
		}
		data, err := d.takePicture(ctx, p.path, args)
		if err == nil && len(data) > largest {
			err = fmt.Errorf("it has %d bytes, and may have %d: make it smaller", len(data), largest)
		}
		if err == nil {
			err = os.WriteFile(file, data, 0o644) //nolint:gosec // everybody may look at it
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Println(file, len(data), "bytes")
	}
	return nil
}

// untilSettled waits until the reservation that gets stuck is, and all jobs that end at once have.
func (d *demo) untilSettled(ctx context.Context) error {
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(100 * time.Millisecond) {
		_, stuck, err := control.Call[control.Activation](ctx, &d.client, "list", control.ListIn{State: []string{"stuck"}})
		if err != nil {
			return err
		}
		_, left, err := control.Call[control.Activation](ctx, &d.client, "list", control.ListIn{Tag: []string{"homework"}, Limit: 1})
		if err != nil {
			return err
		}
		if len(stuck) > 0 && len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d reservations are stuck, and %d jobs are left", len(stuck), len(left))
		}
	}
}

// takePicture returns a picture of a page, with few colours.
func (d *demo) takePicture(ctx context.Context, path string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	file := d.dir + "/picture.png"
	args = append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars", "--user-data-dir=" + d.dir + "/chromium",
		"--screenshot=" + file,
	}, args...)
	out, err := exec.CommandContext(ctx, "chromium", append(args, "http://"+d.address+path)...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	whole, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, fewColours(whole))
	return b.Bytes(), err
}

// fewColours returns a picture with its 256 most frequent colours. What pages have besides are the
// edges of letters.
func fewColours(decoded image.Image) *image.Paletted {
	area := decoded.Bounds()
	whole := image.NewRGBA(area)
	draw.Draw(whole, area, decoded, area.Min, draw.Src)
	counts := make(map[color.RGBA]int)
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			counts[whole.RGBAAt(x, y)]++
		}
	}
	order := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(counts[b]-counts[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	var palette color.Palette
	for _, c := range order[:min(len(order), 256)] {
		palette = append(palette, c)
	}
	few := image.NewPaletted(area, palette)
	nearest := make(map[color.RGBA]uint8)
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			c := whole.RGBAAt(x, y)
			i, ok := nearest[c]
			if !ok {
				i = uint8(palette.Index(c)) //nolint:gosec // there are 256
				nearest[c] = i
			}
			few.SetColorIndex(x, y, i)
		}
	}
	return few
}
