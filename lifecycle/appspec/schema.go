package appspec

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// SchemaID is the identifier of the JSON Schema that Schema gives.
const SchemaID = "urn:slipway:appspec:0.0"

// keyDoc is one key of the file for an editor: what it means and what it may hold.
type keyDoc struct {
	name     string
	required bool
	doc      string
	holds    string // JSON Schema of the value, without its description
}

// sections are the mappings of the file and their keys, in the order of the documentation. The parser knows the same keys.
var sections = []struct {
	name, doc string
	keys      []keyDoc
}{
	{"file", "A file or folder of the bundle and where it goes.", []keyDoc{
		{"source", true, "Path in the bundle; / is all of it. Of a folder the content is copied, not the folder.", `{"type":"string"}`},
		{"destination", true, "Absolute path of a folder on the host. A file keeps its name in it.", `{"type":"string","minLength":1}`},
	}},
	{"script", "A script of a lifecycle event.", []keyDoc{
		{"location", true, "Path of the script in the bundle.", `{"type":"string","pattern":"\\S"}`},
		{"timeout", false, "Seconds that the script may take, at least 1; 3600 if it is not given.", `{"anyOf":[{"type":"number","minimum":1},{"type":"string","pattern":"^\\s*\\+?[0-9]*[1-9]"},{"enum":[null,false]}],"default":3600}`},
		{"runas", false, "User that the script runs as; the agent's own, which is root, if it is not given.", `{"type":["string","null"]}`},
		{"sudo", false, "Run the script by sudo. Any value but false and null is true.", `{"type":["boolean","null"]}`},
	}},
	{"context", "SELinux context.", []keyDoc{
		{"name", false, "SELinux user.", `{"type":["string","null"]}`},
		{"type", true, "SELinux type, such as httpd_sys_content_t.", `{"type":"string"}`},
		{"range", false, "Levels and categories, such as s0:c0.c3. Install needs it.", `{"type":["string","null"],"pattern":"^s[0-9]+(-s[0-9]+)?(:[c0-9.,]+)?$"}`},
	}},
	{"permission", "Owner, mode, access control list and SELinux context of what is installed.", []keyDoc{
		{"object", true, "The file or folder on the host that the entry is about.", `{"type":"string","pattern":"\\S"}`},
		{"pattern", false, "Which names below the object; ** is all of them, also those further down.", `{"anyOf":[{"type":"string"},{"enum":[null,false]}],"default":"**"}`},
		{"except", false, "Names directly below the object that the entry is not about.", `{"anyOf":[{"type":"array","items":{"type":"string"}},{"enum":[null,false]}]}`},
		{"type", false, "Whether the entry is about files, folders or both.", `{"anyOf":[{"type":"array","items":{"enum":["file","directory"]}},{"enum":[null,false]}],"default":["file","directory"]}`},
		{"owner", false, "Name of the user that is to own it.", `{"type":["string","null"],"minLength":1}`},
		{"group", false, "Name of the group that is to own it.", `{"type":["string","null"],"minLength":1}`},
		{"mode", false, "Octal digits, best in quotes: \"0644\".", `{"anyOf":[{"type":"string","pattern":"^[0-7]{0,4}$"},{"type":"integer","minimum":0,"maximum":7777},{"type":"null"}]}`},
		{"acls", false, "Entries [default:][user|group|mask|other:][name]:permissions.", `{"anyOf":[{"type":"array","items":{"type":"string","pattern":"^([^:]*:){1,3}([0-7]|[rwx-]*)$"}},{"type":"null"}]}`},
		{"context", false, "SELinux context.", `{"anyOf":[{"$ref":"#/$defs/context"},{"type":"null"}]}`},
	}},
}

// topDocs are the keys of the file itself.
var topDocs = []keyDoc{
	{"version", true, "Version of the format. There is only 0.0, a number without quotes.", `{"type":"number","const":0}`},
	{"os", true, "Operating system of the hosts.", `{"type":"string","enum":["linux","windows"]}`},
	{"files", false, "What is installed, and where.", `{"anyOf":[{"type":"array","items":{"$ref":"#/$defs/file"}},{"enum":[null,false]}]}`},
	{"permissions", false, "Owners and modes of what is installed; Linux only.", `{"anyOf":[{"type":"array","items":{"$ref":"#/$defs/permission"}},{"enum":[null,false]}]}`},
	{"hooks", false, "The scripts of each lifecycle event.", `{"anyOf":[{"$ref":"#/$defs/hooks"},{"enum":[null,false]}]}`},
	{"file_exists_behavior", false, "What is done about a file that is in the way and that no deployment of the group has put there. It comes before what the deployment says.", `{"enum":["DISALLOW","OVERWRITE","RETAIN",null]}`},
}

// hookDocs are the events that run scripts, in the order in which a complete deployment runs them (H-1, L-13).
var hookDocs = []keyDoc{
	{name: "BeforeBlockTraffic", doc: "Before the balancer takes the host out. Of the old revision."},
	{name: "AfterBlockTraffic", doc: "After the balancer has taken the host out. Of the old revision."},
	{name: "ApplicationStop", doc: "Stop the application. Of the old revision: the scripts of the bundle that is installed run, not those of the one that comes."},
	{name: "BeforeInstall", doc: "Before the files are installed."},
	{name: "AfterInstall", doc: "After the files are installed."},
	{name: "ApplicationStart", doc: "Start the application."},
	{name: "ValidateService", doc: "Make sure that the application works."},
	{name: "BeforeAllowTraffic", doc: "Before the balancer lets the host in."},
	{name: "AfterAllowTraffic", doc: "After the balancer has let the host in."},
}

// scriptList is what an event holds.
const scriptList = `{"anyOf":[{"type":"array","items":{"$ref":"#/$defs/script"}},{"type":"null"}]}`

// Schema is a JSON Schema (draft 2020-12) of an appspec file, for editors. It is stricter than Parse about what is accepted and means nothing:
// keys and events that nobody asks for; and it cannot say all that Parse refuses.
func Schema() []byte {
	var b bytes.Buffer
	b.WriteString(`{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":` + quoted(SchemaID) +
		`,"title":"AppSpec file of an EC2/On-Premises deployment",`)
	mappingSchema(&b, topDocs)
	b.WriteString(`,"$defs":{`)
	for _, s := range sections {
		fmt.Fprintf(&b, `%s:{"description":%s,`, quoted(s.name), quoted(s.doc))
		mappingSchema(&b, s.keys)
		b.WriteString("},")
	}
	events := make([]keyDoc, len(hookDocs))
	for i, e := range hookDocs {
		e.holds = scriptList
		events[i] = e
	}
	b.WriteString(`"hooks":{`)
	mappingSchema(&b, events)
	b.WriteString("}}}")
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		panic(fmt.Sprintf("appspec: the table of the schema is no JSON: %v", err))
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// mappingSchema writes the members of a schema for a mapping that has these keys and no others.
func mappingSchema(b *bytes.Buffer, keys []keyDoc) {
	b.WriteString(`"type":"object","properties":{`)
	var required []string
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, `%s:{"description":%s,%s`, quoted(k.name), quoted(k.doc), k.holds[1:])
		if k.required {
			required = append(required, k.name)
		}
	}
	b.WriteString(`},"additionalProperties":false`)
	if len(required) > 0 {
		names, _ := json.Marshal(required)
		b.WriteString(`,"required":` + string(names))
	}
}

// quoted is a text as JSON.
func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}
