package timetext

import (
	"errors"
	"fmt"
	"time"
)

var errMonth = errors.New("is not a month: write it like 2099-11")

// Month reads a month, such as 2099-11.
func Month(text string) (year int, month time.Month, err error) {
	c := cursor{text}
	year, n := c.number(4, 4)
	dash := c.take('-')
	m, k := c.number(2, 2)
	if n == 0 || !dash || k == 0 || m < 1 || m > 12 || c.rest != "" {
		return 0, 0, fmt.Errorf("%.60q %w", text, errMonth)
	}
	return year, time.Month(m), nil
}
