package device

import "strings"

// refusalForms are the words by which devices with a command line like that of IOS refuse a
// line. Other messages behind the same % only inform.
var refusalForms = []string{
	`invalid`, `incomplete`, `ambiguous`, `unknown`, `unrecogni[sz]ed`, `unsupported`, `malformed`, `missing`,
	`bad`, `wrong`, `illegal`, `inconsistent`, `duplicate`, `mismatch`, `insufficient`, `must`, `first`,
	`cannot`, `can't`, `can ?not`, `could ?n[o']t`, `unable`, `isn't`,
	`errors?`, `fail(ed|s|ure)?`, `denied`, `reject(ed|s)?`, `refus(ed|es|ing)`,
	`overlap(s|ped|ping)?`, `conflict(s|ing)?`, `exceed(s|ed)?`, `no such`, `there (is|are) no`,
	`(only|not) (be )?(allowed|permitted|possible|valid|supported|available|applicable|enough|found|authori[sz]ed)`,
	`(does|do) ?n[o']t (exist|match|support|have)`,
	`out of (range|memory|space|resources)`, `too (many|long|short|large|small|big)`,
	`already exists?`, `(is )?already (running|in use|used|assigned|mapped|taken)`, `is in use`,
	`please (remove|unconfigure|configure|create|specify|delete|enable|disable|use|select|re-?enter)`,
}

// refusalHole stands, in a platform's errors, for a text that has one of the forms.
const refusalHole = "{refusal}"

func fillRefusals(patterns []string) []string {
	one := `(?:.*\W)?(?i:` + strings.Join(refusalForms, "|") + `)(?:\W.*)?`
	filled := make([]string, len(patterns))
	for i, p := range patterns {
		filled[i] = strings.ReplaceAll(p, refusalHole, one)
	}
	return filled
}
