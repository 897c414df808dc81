package main

import "testing"

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
