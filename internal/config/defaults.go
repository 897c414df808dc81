package config

import (
	"log/slog"
	"time"
)

// Default returns the settings that hold where no file says otherwise.
func Default() *Config {
	backoff := Backoff{First: 5 * time.Second, Max: 5 * time.Minute}
	return &Config{
		Front:   Front{Header: "X-Remote-User", Others: "none"},
		Control: Control{Connections: 1024, Line: 1 << 20, Idle: time.Minute},
		Reservations: Reservations{
			Activate:          []string{"/usr/share/activationd/scripts/activate"},
			Deactivate:        []string{"/usr/share/activationd/scripts/deactivate"},
			Timeout:           10 * time.Minute,
			DeactivateTimeout: 10 * time.Minute,
			Grace:             10 * time.Second,
			Retries:           2,
			DeactivateRetries: 5,
			Backoff:           backoff,
			Missed:            "run",
			Environment:       map[string]string{},
		},
		MaxRemoval: 0.5,
		Jobs: Jobs{
			Timeout:     24 * time.Hour,
			Grace:       10 * time.Second,
			Backoff:     backoff,
			Missed:      "run",
			MissedGrace: 24 * time.Hour,
			Environment: map[string]string{},
		},
		StopLimit: 5 * time.Minute,
		Queues:    Queues{MaxBody: 16 << 20, MaxCreated: 100},
		At: At{
			Allow: "/etc/at.allow", Deny: "/etc/at.deny", Sendmail: "/usr/sbin/sendmail",
			LoadAverage: 1.5, Interval: time.Minute,
		},
		Runs: Runs{
			MaxParallel: 64,
			ArmAhead:    50 * time.Millisecond,
			Guard:       "auto",
			Leftovers:   "kill",
			Umask:       0o022,
			Output:      Output{Head: 1 << 20, Tail: 1 << 20},
			Limits:      map[string]Rlimit{},
		},
		History: History{Keep: 30 * 24 * time.Hour, Reports: 1096 * 24 * time.Hour},
		Events:  Events{Keep: 30 * 24 * time.Hour, Count: 100_000},
		Logging: Logging{Level: slog.LevelInfo, Format: "auto"},
	}
}

// defaultBooking has the defaults of booking, if the configuration has that key.
func defaultBooking(r *Reservations) Booking {
	return Booking{Role: "operator", Topology: "operator", Reservations: r.clone()}
}
