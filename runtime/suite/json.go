package suite

import (
	"encoding/json"
	"io"
	"strings"
	"time"
)

// jsonLine is a line as `go test -json` writes it (cmd/test2json), whose package is the
// file here. Outcome, which is not there, tells an error and a flaky test from a failure.
type jsonLine struct {
	Time    time.Time
	Action  string
	Package string
	Test    string   `json:",omitempty"`
	Elapsed *float64 `json:",omitempty"` // in seconds
	Output  string   `json:",omitempty"`
	Outcome Outcome  `json:",omitempty"`
}

// jsonLines writes them, with all that there is to say about a test as its output.
type jsonLines struct {
	encoder *json.Encoder
	files   []string // in the order of their first results
	of      map[string]*jsonFile
}

// jsonFile is what becomes a file's own line.
type jsonFile struct {
	bad, ran    bool
	began, last time.Time
}

func newJSON(w io.Writer) *jsonLines {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return &jsonLines{encoder: e, of: map[string]*jsonFile{}}
}

// actions are what `go test` calls outcomes.
var actions = map[Outcome]string{Pass: "pass", Fail: "fail", Error: "fail", Flaky: "fail", Skip: "skip"}

func (j *jsonLines) Tell(r Result) {
	f := j.of[r.File]
	if f == nil {
		f = &jsonFile{began: r.Began}
		j.of[r.File], j.files = f, append(j.files, r.File)
		j.write(jsonLine{Time: r.Began, Action: "start", Package: r.File})
	}
	end := r.Began.Add(r.Took)
	f.bad, f.ran = f.bad || r.Bad(), f.ran || r.Outcome != Skip
	if end.After(f.last) {
		f.last = end
	}
	line := jsonLine{Package: r.File, Test: r.Short()}
	say := func(action, output string, at time.Time) {
		line.Action, line.Output, line.Time = action, output, at
		j.write(line)
	}
	say("run", "", r.Began)
	words := r.Output
	switch {
	case r.Bad():
		words = Detail(r)
	case r.Outcome == Skip:
		words += r.Reason + "\n"
	}
	for text := range strings.Lines(words) {
		say("output", text, end)
	}
	took := r.Took.Seconds()
	line.Elapsed, line.Outcome = &took, r.Outcome
	say(actions[r.Outcome], "", end)
}

func (j *jsonLines) End(s Summary) {
	for _, name := range j.files {
		f := j.of[name]
		action := "pass"
		switch {
		case f.bad || s.Ended != "":
			action = "fail"
		case !f.ran:
			action = "skip"
		}
		took := f.last.Sub(f.began).Seconds()
		j.write(jsonLine{Time: f.last, Action: action, Package: name, Elapsed: &took})
	}
}

// write writes a line. What comes of that the file's end says (see the caller's flush).
func (j *jsonLines) write(l jsonLine) { _ = j.encoder.Encode(l) }
