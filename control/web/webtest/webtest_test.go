package webtest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"activationd/control/web/webtest"
)

const document = `{"openapi":"3.1.0","info":{"title":"x","version":"1"},"paths":{
"/things/{id}":{"post":{"operationId":"add",
 "parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string"}}],
 "requestBody":{"content":{"application/json":{"schema":{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}}}},
 "responses":{"200":{"description":"x","content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}}}},
  "400":{"description":"x","content":{"application/problem+json":{"schema":{"$ref":"#/components/schemas/Problem"}}}}}}},
"/follow":{"get":{"operationId":"follow","responses":{"200":{"description":"x","content":{
 "application/jsonl":{"schema":{"type":"string"},"x-event-schema":{"$ref":"#/components/schemas/Thing"}},
 "text/event-stream":{"schema":{"type":"string"},"x-event-schema":{"$ref":"#/components/schemas/Thing"}}}}}}},
"/plain":{"get":{"operationId":"plain","responses":{"200":{"description":"x"}}}}},
"components":{"schemas":{"Thing":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]},
 "Problem":{"type":"object","properties":{"status":{"type":"integer"}},"required":["status"]}}}}`

// TestTransport checks that the transport reports what is not as the document says, and nothing
// else.
func TestTransport(t *testing.T) {
	const jsonType, problem, jsonl, sse = "application/json", "application/problem+json", "application/jsonl", "text/event-stream"
	for _, tt := range []struct {
		name, request, body string
		status              int
		kind, reply         string
		want                string // none: nothing is reported
	}{
		{"right", "POST /things/a%2Fb", `{"n":1}`, 200, jsonType, `{"n":1,"new":2}`, ""},
		{"below the base", "POST /lab/things/a", `{"n":1}`, 200, jsonType, `{"n":1}`, ""},
		{"no field that must be there", "POST /things/a", `{"n":1}`, 200, jsonType, `{}`, "missing property 'n'"},
		{"null", "POST /things/a", `{"n":1}`, 200, jsonType, `{"n":null}`, "got null"},
		{"another type", "POST /things/a", `{"n":1}`, 200, "text/plain", `{"n":1}`, "Content-Type"},
		{"a status that the document does not have", "POST /things/a", `{"n":1}`, 418, jsonType, `{}`, "status is not supported"},
		{"a request that is rightly refused", "POST /things/a", `{"m":1}`, 400, problem, `{"status":400}`, ""},
		{"a problem without status", "POST /things/a", `{"m":1}`, 400, problem, `{}`, "missing property 'status'"},
		{"an argument that does not exist", "POST /things/a", `{"m":1}`, 200, jsonType, `{"n":1}`, "additional properties 'm' not allowed"},
		{"an argument of another type", "POST /things/a", `{"n":"1"}`, 200, jsonType, `{"n":1}`, "got string, want integer"},
		{"an argument in the query", "POST /things/a?x=1", `{"n":1}`, 200, jsonType, `{"n":1}`, "no argument x"},
		{"another path", "GET /others", "", 200, jsonType, `{}`, "the document does not have it"},
		{"another path that is not there", "GET /others", "", 404, problem, `{}`, ""},
		{"lines", "GET /follow", "", 200, jsonl, "{\"n\":1}\n\n{\"error\":{\"status\":503}}\n", ""},
		{"a wrong line", "GET /follow", "", 200, jsonl, "{\"n\":1}\n{\"n\":\"x\"}\n", "got string"},
		{"a wrong problem at the end", "GET /follow", "", 200, jsonl, "{\"error\":{}}\n", "missing property 'status'"},
		{"events", "GET /follow", "", 200, sse, ":\n\nid: 7\ndata: {\"n\":1}\n\n", ""},
		{"a wrong event", "GET /follow", "", 200, sse, "data: {}\n\n", "missing property 'n'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got, err := io.ReadAll(r.Body); err != nil || string(got) != tt.body {
					t.Errorf("the server got %q, %v", got, err)
				}
				w.Header().Set("Content-Type", tt.kind)
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.reply)
			}))
			defer server.Close()
			var reported []string
			transport, err := webtest.New([]byte(document), "/lab", http.DefaultTransport, func(err error) { reported = append(reported, err.Error()) })
			if err != nil {
				t.Fatal(err)
			}
			method, path, _ := strings.Cut(tt.request, " ")
			req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", jsonType)
			resp, err := (&http.Client{Transport: transport}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != tt.reply {
				t.Errorf("the client got %q, %v", got, err)
			}
			text := strings.Join(reported, "\n")
			if tt.want == "" && text != "" || !strings.Contains(text, tt.want) {
				t.Errorf("reported %q, want %q", text, tt.want)
			}
		})
	}
}

// TestSockets checks that the messages of WebSockets are checked, whatever their frames are like.
func TestSockets(t *testing.T) {
	big := `{"n":1,"text":"` + strings.Repeat("x", 70_000) + `"}`
	medium := `{"n":1,"text":"` + strings.Repeat("x", 200) + `"}`
	for _, tt := range []struct {
		name, path, message string
		kind                websocket.MessageType
		want                string // none: nothing is reported
	}{
		{"right", "/follow", `{"n":1}`, websocket.MessageText, ""},
		{"medium", "/follow", medium, websocket.MessageText, ""},
		{"big", "/follow", big, websocket.MessageText, ""},
		{"wrong", "/follow", `{"n":"x"}`, websocket.MessageText, "got string"},
		{"big and wrong", "/follow", strings.Replace(big, "1", `"x"`, 1), websocket.MessageText, "got string"},
		{"no text", "/follow", `{"n":1}`, websocket.MessageBinary, "a message is a text"},
		{"a problem", "/follow", `{"error":{"status":503}}`, websocket.MessageText, ""},
		{"a wrong problem", "/follow", `{"error":{}}`, websocket.MessageText, "missing property 'status'"},
		{"no stream", "/plain", `{"n":1}`, websocket.MessageText, "the document has no stream there"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, err := websocket.Accept(w, r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = conn.CloseNow() }()
				if err := conn.Ping(conn.CloseRead(r.Context())); err != nil { // its frame is no message
					t.Error(err)
				}
				out, err := conn.Writer(r.Context(), tt.kind)
				if err != nil {
					t.Error(err)
					return
				}
				half := len(tt.message) / 2
				for _, part := range []string{tt.message[:half], tt.message[half:]} { // a frame each
					if _, err := io.WriteString(out, part); err != nil {
						t.Error(err)
					}
				}
				if err := out.Close(); err != nil {
					t.Error(err)
				}
				_ = conn.Close(websocket.StatusNormalClosure, "")
			}))
			defer server.Close()
			var reported []string
			transport, err := webtest.New([]byte(document), "", http.DefaultTransport, func(err error) { reported = append(reported, err.Error()) })
			if err != nil {
				t.Fatal(err)
			}
			conn, _, err := websocket.Dial(t.Context(), server.URL+tt.path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}) //nolint:bodyclose // the library closes it
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.CloseNow() }()
			conn.SetReadLimit(1 << 20)
			if _, got, err := conn.Read(t.Context()); err != nil || string(got) != tt.message {
				t.Errorf("the client got %.50q, %v", got, err)
			}
			text := strings.Join(reported, "\n")
			if tt.want == "" && text != "" || !strings.Contains(text, tt.want) {
				t.Errorf("reported %q, want %q", text, tt.want)
			}
		})
	}
}
