package object

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWriter writes objects with all kinds of members, as package json does.
func TestWriter(t *testing.T) {
	type inner struct {
		Name string `json:"n"`
	}
	type all struct {
		Text     string         `json:"text"`
		Some     string         `json:"some,omitempty"`
		Texts    []string       `json:"texts,omitempty"`
		Number   int64          `json:"number"`
		Count    int            `json:"count,omitempty"`
		Large    uint64         `json:"large,omitempty"`
		Wait     *time.Duration `json:"wait,omitempty"`
		Set      bool           `json:"set,omitempty"`
		At       time.Time      `json:"at"`
		Until    time.Time      `json:"until,omitzero"`
		Bytes    []byte         `json:"bytes,omitempty"`
		Map      map[string]int `json:"map"`
		One      inner          `json:"one"`
		Many     []inner        `json:"many,omitempty"`
		Other    *inner         `json:"other,omitempty"`
		Trailing bool           `json:"trailing,omitempty"`
	}
	texts := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "plain", `"quoted"`, `back\slash`, "<b>&amp;", "\u2028", "\x7f", "{", "new\nline"}))
	times := rapid.Custom(func(t *rapid.T) time.Time {
		zone := time.FixedZone("", 60*rapid.IntRange(-12*60, 14*60).Draw(t, "zone"))
		return rapid.SampledFrom([]time.Time{{}, time.Unix(rapid.Int64Range(-1<<32, 1<<34).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).In(zone)}).Draw(t, "time")
	})
	rapid.Check(t, func(t *rapid.T) {
		v := all{
			Text: texts.Draw(t, "text"), Some: texts.Draw(t, "some"), Texts: rapid.SliceOfN(texts, 0, 3).Draw(t, "texts"),
			Number: rapid.Int64().Draw(t, "number"), Count: rapid.IntRange(-1, 1).Draw(t, "count"), Large: rapid.Uint64().Draw(t, "large"),
			Set: rapid.Bool().Draw(t, "set"), At: times.Draw(t, "at"), Until: times.Draw(t, "until"),
			Bytes: rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "bytes"), Map: rapid.MapOfN(texts, rapid.Int(), 0, 2).Draw(t, "map"),
			One: inner{texts.Draw(t, "one")}, Trailing: rapid.Bool().Draw(t, "trailing"),
		}
		if rapid.Bool().Draw(t, "waits") {
			v.Wait, v.Other = new(time.Duration(rapid.Int64().Draw(t, "wait"))), &inner{texts.Draw(t, "other")}
		}
		for _, s := range rapid.SliceOfN(texts, 0, 3).Draw(t, "many") {
			v.Many = append(v.Many, inner{s})
		}
		w := Begin([]byte("before "))
		w.PutText("text", v.Text)
		w.Text("some", v.Some)
		w.Texts("texts", v.Texts)
		w.PutNumber("number", v.Number)
		w.Number("count", int64(v.Count))
		w.Unsigned("large", v.Large)
		Optional(&w, "wait", v.Wait)
		w.Flag("set", v.Set)
		w.PutTime("at", v.At)
		w.Time("until", v.Until)
		w.Bytes("bytes", v.Bytes)
		w.PutOther("map", v.Map)
		w.PutObject("one", func() { w.PutText("n", v.One.Name) })
		w.Objects("many", len(v.Many), func(i int) { w.PutText("n", v.Many[i].Name) })
		Pointer(&w, "other", v.Other)
		w.Flag("trailing", v.Trailing)
		got, err := w.End()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != "before "+string(want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// An error stays, and does not become a part of the text.
func TestWriterFails(t *testing.T) {
	w := Begin(nil)
	w.PutTime("at", time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC))
	w.PutOther("other", func() {})
	w.PutText("text", "x")
	_, err := w.End()
	if _, wrong := json.Marshal(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)); err == nil || wrong == nil {
		t.Errorf("the error is %v, that of package json is %v", err, wrong)
	}
}
