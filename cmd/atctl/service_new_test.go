package main

import (
	"os"
	"strings"
	"testing"

	"activationd/control"
)

// TestChooseNew checks which of several places is taken, and that an error says for each that
// fits what is in the way.
func TestChooseNew(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	own, root, below := control.ServicePlace{Env: dir + "/own/*/*/.env"}, control.ServicePlace{Env: dir + "/root/*/*/.env", User: "www-data"}, control.ServicePlace{Env: dir + "/file/*/*/.env", User: "x"}
	other := control.ServicePlace{Env: dir + "/other/*/.env", User: "x"}
	for _, tt := range []struct {
		name   string
		places []control.ServicePlace
		uid    int
		want   string // the file, or what the error has
	}{
		{"the first", []control.ServicePlace{other, own, root}, 7, "/own/shop/web/.env"},
		{"the first where root can be somebody", []control.ServicePlace{other, own, root}, 0, "/root/shop/web/.env"},
		{"none for root", []control.ServicePlace{own}, 0, "has no user: run this as the user of the service"},
		{"the first where one can write", []control.ServicePlace{below, own}, 7, "/own/shop/web/.env"},
		{"none where one can write", []control.ServicePlace{below}, 7, "have somebody make the directory " + dir + "/file/shop/web for you"},
		{"none that fits", []control.ServicePlace{other}, 7, "want PROJECT/SERVICE"},
		{"none at all", nil, 7, "add the key discover to its configuration"},
	} {
		file, err := chooseNew(tt.places, "shop/web", tt.uid)
		if file != dir+tt.want && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %q, %v, want %q", tt.name, file, err, tt.want)
		}
	}
}

func TestNewPlace(t *testing.T) {
	for _, tt := range []struct{ name, pattern, service, want string }{
		{"any project", "/var/www/*/*/.env", "shop/web", "/var/www/shop/web/.env"},
		{"one project", "/srv/shop/*/.env", "shop/web", "/srv/shop/web/.env"},
		{"another project", "/srv/shop/*/.env", "mail/web", ""},
		{"another name of the file", "/srv/*/*/service.env", "shop/web", "/srv/shop/web/service.env"},
		{"no project", "/var/www/*/*/.env", "web", ""},
		{"too deep", "/var/www/*/*/.env", "a/b/c", ""},
		{"elsewhere", "/var/www/*/*/.env", "../etc", ""},
		{"a pattern as name", "/var/www/*/*/.env", "shop/*", ""},
		{"any directory above", "/home/*/*/*/.env", "shop/web", ""},
		{"any file", "/var/www/*/*/*.env", "shop/web", ""},
	} {
		if got := newPlace(tt.pattern, tt.service); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
