// Package objecttest fills values for tests of encodings.
package objecttest

import (
	"math/rand/v2"
	"reflect"
	"time"
)

// Fill sets about half of the fields of a struct by chance, and those of the structs in it. V is
// a pointer to the struct. It leaves fields alone that are not exported, as package json does.
func Fill(rnd *rand.Rand, v any) { fill(rnd, reflect.ValueOf(v).Elem()) }

// texts need quotes, escapes and more in JSON, or nothing of that.
var texts = [...]string{"plain", "a b", `"`, `\`, "<&>", "\xff", "\u00fc", "\u2028", "\n", "\x7f"}

func fill(rnd *rand.Rand, v reflect.Value) {
	switch k := v.Kind(); {
	case v.Type() == reflect.TypeFor[time.Time]() && v.CanSet():
		v.Set(reflect.ValueOf(time.Unix(rnd.Int64N(1<<32), rnd.Int64N(1e9)).UTC()))
	case k == reflect.Struct: // it may be embedded, and not exported itself
		for i := range v.NumField() {
			if rnd.IntN(2) == 0 {
				fill(rnd, v.Field(i))
			}
		}
	case !v.CanSet():
	case k == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(rnd, v.Elem())
	case k == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rnd.IntN(3), 3))
		for i := range v.Len() {
			fill(rnd, v.Index(i))
		}
	case k == reflect.Array:
		for i := range v.Len() {
			fill(rnd, v.Index(i))
		}
	case k == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range rnd.IntN(3) {
			key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(rnd, key)
			fill(rnd, val)
			v.SetMapIndex(key, val)
		}
	case k == reflect.String:
		v.SetString(texts[rnd.IntN(len(texts))])
	case k == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(rnd.Int64N(3))
	case v.CanUint():
		v.SetUint(rnd.Uint64N(1 << 8))
	default:
		panic("objecttest: " + v.Type().String() + " is not known")
	}
}
