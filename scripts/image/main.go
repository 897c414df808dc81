// Image writes an image of a container with the daemon, as a tar file of an OCI image layout. It runs no
// program of a container's and needs no rights.
//
// The file depends on what is put into it and on SOURCE_DATE_EPOCH alone, so two builds give the same bytes. The
// few structures of the format that are needed are declared here: that is shorter than what the module of its
// specification would bring with it.
//
//	image -bin bin -parts FOLDER -arch amd64 -version 1.0 -o activationd.tar
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	var b build
	var out string
	flag.StringVar(&b.bin, "bin", "bin", "`DIRECTORY` with the programs")
	flag.StringVar(&b.parts, "parts", "", "`DIRECTORY` that scripts/image-parts has filled")
	flag.StringVar(&b.arch, "arch", "amd64", "`ARCHITECTURE` of the programs")
	flag.StringVar(&b.version, "version", "unknown", "`VERSION` of activationd")
	flag.StringVar(&out, "o", "", "`FILE` to write")
	flag.Parse()
	if out == "" || b.parts == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := b.write(out); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// A build is what an image is made of.
type build struct {
	bin, parts, arch, version string
	created                   time.Time
}

// write writes the image. There is no file, or the older one, if it fails.
func (b *build) write(out string) error {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	b.created = time.Unix(epoch, 0).UTC()
	if _, ok := machines[b.arch]; !ok {
		return fmt.Errorf("the architecture is %s: there are images for amd64 and arm64 only", b.arch)
	}
	root := newTree(b.created)
	b.fill(root)
	plain, err := root.close()
	if err != nil {
		return err
	}
	data, err := b.layout(plain)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(out+".part", data, 0o644); err != nil { //nolint:gosec // it is for everybody
		return err
	}
	return os.Rename(out+".part", out)
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// applets are the commands of busybox that get a name: what scripts commonly use.
var applets = strings.Fields(`ash awk basename cat chgrp chmod chown chroot cmp cp crontab cut date dd df diff dirname du echo env
	expr false find flock free grep gunzip gzip head hostname id ip kill killall less ln ls mkdir mkfifo mktemp more mount mountpoint
	mv nc nice nohup nslookup od pgrep pidof ping printf ps pwd readlink realpath renice rm rmdir sed seq setsid sh sha256sum sleep
	sort stat stty sync tail tar tee telnet test time timeout top touch tr true tty umount uname uniq vi wc wget which whoami xargs yes zcat`)

// fill puts everything into the image's root.
func (b *build) fill(t *tree) {
	for _, d := range []struct {
		name string
		mode int64
	}{
		{"bin", 0o755}, {"dev", 0o755}, {"etc", 0o755}, {"etc/activationd", 0o755}, {"etc/activationd/reservations.d", 0o755},
		{"etc/ssl", 0o755}, {"etc/ssl/certs", 0o755}, {"home", 0o755}, {"proc", 0o555}, {"root", 0o700}, {"run", 0o755},
		{"run/activationd", 0o755}, {"sys", 0o555}, {"tmp", 0o1777}, {"usr", 0o755}, {"usr/bin", 0o755}, {"usr/libexec", 0o755},
		{"usr/libexec/activationd", 0o755}, {"usr/share", 0o755}, {"usr/share/activationd", 0o755},
		{"usr/share/activationd/scripts", 0o755}, {"usr/share/doc", 0o755}, {"usr/share/doc/activationd", 0o755},
		{"var", 0o755}, {"var/lib", 0o755}, {"var/lib/activationd", 0o711}, {"var/tmp", 0o1777},
	} {
		t.dir(d.name, d.mode)
	}
	t.entry(tar.Header{Typeflag: tar.TypeDir, Name: "home/activationd/", Mode: 0o755, Uid: 100, Gid: 100}, nil)

	// The user is for work that needs no rights of root's; members of the group are operators.
	t.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nactivationd:x:100:100:activationd:/home/activationd:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n")
	t.text("etc/group", "root:x:0:\nactivationd:x:100:\nnogroup:x:65534:\n")

	for _, name := range []string{"activationd", "atctl"} {
		b.program(t, "usr/bin/"+name, b.bin+"/"+name)
	}
	for _, name := range []string{"at", "atq", "atrm", "batch"} {
		t.link("usr/bin/"+name, "atctl")
	}
	for _, name := range []string{"atctl-lab", "atctl-tls", "atctl-top", "atwrap"} {
		b.program(t, "usr/libexec/activationd/"+name, b.bin+"/"+name)
	}
	conf := t.read("scripts/system/activationd.yaml")
	t.text("etc/activationd/activationd.yaml", strings.Replace(conf, "schema=", "schema=/usr/share/activationd/", 1))
	t.text("etc/at.deny", t.read("scripts/system/at.deny"))
	for _, name := range []string{"config.schema.json", "reservations.schema.json"} {
		t.text("usr/share/activationd/"+name, t.read("docs/"+name))
	}
	for _, name := range []string{"activate", "deactivate"} {
		t.file("usr/share/activationd/scripts/"+name, 0o755, []byte(t.read("scripts/"+name)))
	}
	t.text("usr/share/doc/activationd/LICENSE", t.read("LICENSE"))
	t.text("usr/share/doc/activationd/copyright", t.read("debian/copyright"))
	t.text("usr/share/doc/activationd/activationd.example.yaml", t.read("docs/activationd.example.yaml"))

	b.program(t, "bin/busybox", b.parts+"/bin/busybox")
	for _, name := range applets {
		t.link("bin/"+name, "busybox")
	}
	b.zones(t)
	b.authorities(t)
	for _, name := range []string{"busybox-static", "tzdata", "ca-certificates"} {
		t.dir("usr/share/doc/"+name, 0o755)
		t.text("usr/share/doc/"+name+"/copyright", t.read(b.parts+"/usr/share/doc/"+name+"/copyright"))
	}
}

// program adds a program, which must be static and for the image's architecture.
func (b *build) program(t *tree, name, from string) {
	data := []byte(t.read(from))
	if t.err != nil {
		return
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.err = fmt.Errorf("%s: %w", from, err)
		return
	}
	if f.Machine != machines[b.arch] {
		t.err = fmt.Errorf("%s is for %v, and the image for %s", from, f.Machine, b.arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.err = fmt.Errorf("%s is not static, and the image has no libraries", from)
		}
	}
	t.file(name, 0o755, data)
}

// zones adds the time zones, without the other two versions of each that the package has.
func (b *build) zones(t *tree) {
	from := b.parts + "/usr/share/zoneinfo"
	err := filepath.WalkDir(from, func(file string, d os.DirEntry, err error) error {
		name := strings.TrimPrefix(file, b.parts+"/")
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "usr/share/zoneinfo/right" || name == "usr/share/zoneinfo/posix"):
			return filepath.SkipDir
		case d.IsDir():
			t.dir(name, 0o755)
		case d.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(file)
			if err != nil || path.IsAbs(target) { // to /etc/localtime, of which there is none
				return err
			}
			t.link(name, target)
		default:
			t.text(name, t.read(file))
		}
		return nil
	})
	t.err = errors.Join(t.err, err)
}

// authorities adds the certificates that a request by HTTPS is judged by.
func (b *build) authorities(t *tree) {
	names, err := filepath.Glob(b.parts + "/usr/share/ca-certificates/mozilla/*.crt") // in order
	if err == nil && names == nil {
		err = fmt.Errorf("%s has no certificates", b.parts)
	}
	t.err = errors.Join(t.err, err)
	var all strings.Builder
	for _, name := range names {
		all.WriteString(strings.TrimSpace(t.read(name)) + "\n")
	}
	t.text("etc/ssl/certs/ca-certificates.crt", all.String())
}

// A tree is a tar file that is being written. Its first error is kept for close.
type tree struct {
	buf  bytes.Buffer
	tar  *tar.Writer
	time time.Time
	err  error
}

func newTree(at time.Time) *tree {
	t := &tree{time: at}
	t.tar = tar.NewWriter(&t.buf)
	return t
}

func (t *tree) entry(h tar.Header, data []byte) {
	h.ModTime, h.Size, h.Format = t.time, int64(len(data)), tar.FormatUSTAR
	if t.err == nil {
		t.err = t.tar.WriteHeader(&h)
	}
	if t.err == nil {
		_, t.err = t.tar.Write(data)
	}
}

func (t *tree) dir(name string, mode int64) {
	t.entry(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (t *tree) link(name, target string) {
	t.entry(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

func (t *tree) file(name string, mode int64, data []byte) {
	t.entry(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, data)
}

func (t *tree) text(name, text string) { t.file(name, 0o644, []byte(text)) }

// read reads a file from which something is added.
func (t *tree) read(name string) string {
	data, err := os.ReadFile(name)
	if t.err == nil {
		t.err = err
	}
	return string(data)
}

func (t *tree) close() ([]byte, error) {
	if t.err == nil {
		t.err = t.tar.Close()
	}
	return t.buf.Bytes(), t.err
}

// A descriptor names a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// An image is what a container is to be.
type image struct {
	Created string `json:"created"`
	platform
	Config  settings  `json:"config"`
	RootFS  rootFS    `json:"rootfs"`
	History []history `json:"history"`
}

type settings struct {
	ExposedPorts map[string]struct{}
	Env          []string
	Entrypoint   []string
	Volumes      map[string]struct{}
	WorkingDir   string
	Labels       map[string]string
	StopSignal   string
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

const mediaType = "application/vnd.oci.image."

// layout returns the layout of an image whose root is one layer.
func (b *build) layout(root []byte) ([]byte, error) {
	created := b.created.Format(time.RFC3339)
	versions, err := os.ReadFile(b.parts + "/versions")
	if err != nil {
		return nil, err
	}
	labels := map[string]string{
		"org.opencontainers.image.title":       "activationd",
		"org.opencontainers.image.description": "Activates laboratory reservations on time, and runs jobs",
		"org.opencontainers.image.version":     b.version,
		"org.opencontainers.image.created":     created,
		"org.debian.packages":                  strings.Join(strings.Split(strings.TrimSpace(string(versions)), "\n"), ", "),
	}
	of := platform{b.arch, "linux"}
	out := newTree(b.created)
	out.dir("blobs", 0o755)
	out.dir("blobs/sha256", 0o755)
	layer, err := compress(root)
	if err != nil {
		return nil, err
	}
	m := manifest{SchemaVersion: 2, MediaType: mediaType + "manifest.v1+json", Annotations: labels}
	m.Layers = []descriptor{out.blob(mediaType+"layer.v1.tar+gzip", layer)}
	if m.Config, err = out.object(mediaType+"config.v1+json", image{
		Created: created, platform: of,
		Config: settings{
			// They are only where a configuration is likely to listen: by itself it listens at no port.
			ExposedPorts: map[string]struct{}{"50002/tcp": {}, "8080/tcp": {}},
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Entrypoint:   []string{"/usr/bin/activationd"},
			Volumes:      map[string]struct{}{"/var/lib/activationd": {}},
			WorkingDir:   "/",
			Labels:       labels,
			StopSignal:   "SIGTERM",
		},
		RootFS:  rootFS{"layers", []string{digest(root)}},
		History: []history{{created, "make image"}},
	}); err != nil {
		return nil, err
	}
	d, err := out.object(m.MediaType, m)
	if err != nil {
		return nil, err
	}
	tag := strings.ReplaceAll(b.version, "~", "-") // which no tag may have
	d.Platform, d.Annotations = &of, map[string]string{
		"org.opencontainers.image.ref.name": tag,
		"io.containerd.image.name":          "localhost/activationd:" + tag, // for ctr, and for docker
	}
	all, err := json.Marshal(index{2, mediaType + "index.v1+json", []descriptor{d}})
	if err != nil {
		return nil, err
	}
	out.file("index.json", 0o644, all)
	out.text("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	return out.close()
}

// object adds a blob in JSON.
func (t *tree) object(kind string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	return t.blob(kind, data), err
}

func (t *tree) blob(kind string, data []byte) descriptor {
	sum := digest(data)
	t.file("blobs/"+strings.Replace(sum, ":", "/", 1), 0o644, data)
	return descriptor{MediaType: kind, Digest: sum, Size: len(data)}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// compress leaves the time out of the header.
func compress(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	err = w.Close()
	return buf.Bytes(), err
}
