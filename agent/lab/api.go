package lab

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const apiPrefix = "CodeDeploy_20141006."

// An apiError is a modelled exception of the public API.
type apiError struct {
	code, message string
	status        int // 400 if zero
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func refuse(code, format string, args ...any) *apiError {
	return &apiError{code: code, message: fmt.Sprintf(format, args...)}
}

// operation answers one call. It runs with the service's mu held, and what it returns is encoded before mu is let go.
type operation func(s *service, body []byte) (any, error)

// op decodes the input for f.
func op[In any](f func(*service, *In) (any, error)) operation {
	return func(s *service, body []byte) (any, error) {
		in := new(In)
		if err := json.Unmarshal(body, in); err != nil {
			return nil, refuse("SerializationException", "%v", err)
		}
		return f(s, in)
	}
}

// operations are what the lab knows of the public API.
var operations = map[string]operation{
	"CreateApplication":                  op((*service).createApplication),
	"GetApplication":                     op((*service).getApplication),
	"UpdateApplication":                  op((*service).updateApplication),
	"DeleteApplication":                  op((*service).deleteApplication),
	"ListApplications":                   op((*service).listApplications),
	"BatchGetApplications":               op((*service).batchGetApplications),
	"RegisterApplicationRevision":        op((*service).registerRevision),
	"GetApplicationRevision":             op((*service).getRevision),
	"ListApplicationRevisions":           op((*service).listRevisions),
	"BatchGetApplicationRevisions":       op((*service).batchGetRevisions),
	"CreateDeploymentGroup":              op((*service).createGroup),
	"GetDeploymentGroup":                 op((*service).getGroup),
	"UpdateDeploymentGroup":              op((*service).updateGroup),
	"DeleteDeploymentGroup":              op((*service).deleteGroup),
	"ListDeploymentGroups":               op((*service).listGroups),
	"BatchGetDeploymentGroups":           op((*service).batchGetGroups),
	"CreateDeploymentConfig":             op((*service).createConfig),
	"GetDeploymentConfig":                op((*service).getConfig),
	"DeleteDeploymentConfig":             op((*service).deleteConfig),
	"ListDeploymentConfigs":              op((*service).listConfigs),
	"CreateDeployment":                   op((*service).createDeployment),
	"GetDeployment":                      op((*service).getDeployment),
	"BatchGetDeployments":                op((*service).batchGetDeployments),
	"ListDeployments":                    op((*service).listDeployments),
	"StopDeployment":                     op((*service).stopDeployment),
	"ContinueDeployment":                 op((*service).continueDeployment),
	"SkipWaitTimeForInstanceTermination": op((*service).skipTerminationWait),
	"ListDeploymentInstances":            op((*service).listInstances),
	"GetDeploymentInstance":              op((*service).getInstance),
	"BatchGetDeploymentInstances":        op((*service).batchGetInstances),
	"ListDeploymentTargets":              op((*service).listTargets),
	"GetDeploymentTarget":                op((*service).getTarget),
	"BatchGetDeploymentTargets":          op((*service).batchGetTargets),
	"RegisterOnPremisesInstance":         op((*service).registerInstance),
	"DeregisterOnPremisesInstance":       op((*service).deregisterInstance),
	"GetOnPremisesInstance":              op((*service).getOnPremises),
	"BatchGetOnPremisesInstances":        op((*service).batchGetOnPremises),
	"ListOnPremisesInstances":            op((*service).listOnPremises),
	"AddTagsToOnPremisesInstances":       op((*service).addInstanceTags),
	"RemoveTagsFromOnPremisesInstances":  op((*service).removeInstanceTags),
	"TagResource":                        op((*service).tagResource),
	"UntagResource":                      op((*service).untagResource),
	"ListTagsForResource":                op((*service).listResourceTags),
}

// maxBody is more than any call of a JSON service carries.
const maxBody = 1 << 20

// ServeHTTP answers the public API (JSON 1.1). Signatures are checked before it.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, isAPI := strings.CutPrefix(r.Header.Get("X-Amz-Target"), apiPrefix)
	call, known := operations[name]
	if r.Method != http.MethodPost || !isAPI || !known {
		writeAPIError(w, refuse("UnknownOperationException", "the lab does not know the operation %q", r.Header.Get("X-Amz-Target")))
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		writeAPIError(w, refuse("SerializationException", "body: %v", err))
		return
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	answer, err := s.call(call, body)
	if err != nil {
		writeAPIError(w, err)
		return
	}
	writeJSON11(w, http.StatusOK, answer)
}

// call runs one operation and encodes its answer under the lock.
func (s *service) call(o operation, body []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, err := o(s, body)
	if err != nil {
		return nil, err
	}
	if answer == nil {
		return nil, nil // the operations without output answer with an empty body
	}
	return json.Marshal(answer)
}

func writeJSON11(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if w.Header().Get("X-Amzn-Requestid") == "" {
		w.Header().Set("X-Amzn-Requestid", requestID())
	}
	w.WriteHeader(status)
	w.Write(body)
}

// requestID looks like the service's.
func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func writeAPIError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = &apiError{code: "InternalFailure", message: err.Error(), status: http.StatusInternalServerError}
	}
	if e.status == 0 {
		e.status = http.StatusBadRequest
	}
	body, err := json.Marshal(map[string]string{"__type": e.code, "message": e.message})
	if err != nil {
		body = []byte(`{"__type":"InternalFailure"}`)
	}
	writeJSON11(w, e.status, body)
}

// page cuts one page out of a list; tokens are positions.
func page[T any](all []T, token string, size int) (part []T, next string, err error) {
	from := 0
	if token != "" {
		var err error
		if from, err = strconv.Atoi(strings.TrimPrefix(token, "at-")); err != nil || from < 0 || from > len(all) {
			return nil, "", refuse("InvalidNextTokenException", "The next token was specified in an invalid format.")
		}
	}
	part = all[from:min(from+size, len(all))]
	if from+size < len(all) {
		next = "at-" + strconv.Itoa(from+size)
	}
	return append([]T{}, part...), next, nil
}

// pageSize is the service's for lists.
const pageSize = 100
