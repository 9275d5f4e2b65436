package standin

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The API version of Auto Scaling, and the XML namespace it makes.
const (
	autoScalingVersion = "2011-01-01"
	autoScalingNS      = "http://autoscaling.amazonaws.com/doc/" + autoScalingVersion + "/"
)

// autoScalingWire is the Query protocol: a form in, XML out.
var autoScalingWire = wire{
	name:        "autoscaling",
	contentType: "text/xml",
	parse:       parseQuery(autoScalingVersion),
	result:      queryResult(autoScalingNS),
	failure:     queryFailure(autoScalingNS),
	refused: map[refusal]apiError{
		unsigned:       {code: "MissingAuthenticationToken"},
		unknownKey:     {code: "InvalidClientTokenId"},
		expiredKey:     {code: "ExpiredToken"},
		wrongSignature: {code: "SignatureDoesNotMatch"},
	},
	throttled:   apiError{400, "Throttling", "Rate exceeded"},
	constrained: constrained,
	operations: map[string]operation{
		"CompleteLifecycleAction":             completeLifecycleAction,
		"DeleteAutoScalingGroup":              deleteAutoScalingGroup,
		"DeleteLifecycleHook":                 deleteLifecycleHook,
		"DescribeAutoScalingGroups":           describeAutoScalingGroups,
		"DescribeAutoScalingInstances":        describeAutoScalingInstances,
		"DescribeInstanceRefreshes":           describeInstanceRefreshes,
		"DescribeLifecycleHookTypes":          describeLifecycleHookTypes,
		"DescribeLifecycleHooks":              describeLifecycleHooks,
		"DescribeScalingActivities":           describeScalingActivities,
		"DescribeWarmPool":                    describeWarmPool,
		"DetachInstances":                     detachInstances,
		"EnterStandby":                        enterStandby,
		"ExitStandby":                         exitStandby,
		"PutLifecycleHook":                    putLifecycleHook,
		"PutWarmPool":                         putWarmPool,
		"RecordLifecycleActionHeartbeat":      recordLifecycleActionHeartbeat,
		"SetInstanceHealth":                   setInstanceHealth,
		"SetInstanceProtection":               setInstanceProtection,
		"StartInstanceRefresh":                startInstanceRefresh,
		"TerminateInstanceInAutoScalingGroup": terminateInstance,
	},
	unknown: func(op string) apiError {
		return apiError{400, "InvalidAction", fmt.Sprintf("Could not find operation %s for version %s", op, autoScalingVersion)}
	},
}

// parseQuery reads the requests of a service of the Query protocol.
func parseQuery(version string) func(*http.Request, []byte) (request, *apiError) {
	return func(r *http.Request, body []byte) (request, *apiError) {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return request{}, &apiError{400, "MalformedQueryString", "The query string contains a syntax error"}
		}
		req := request{op: form.Get("Action"), params: map[string]string{}}
		for name := range form {
			if name != "Action" && name != "Version" {
				req.params[name] = form.Get(name)
			}
		}
		switch {
		case req.op == "":
			return req, &apiError{400, "MissingAction", "Missing Action"}
		case form.Get("Version") != version:
			return req, &apiError{400, "NoSuchVersion", "The requested version (" + form.Get("Version") + ") is not valid"}
		}
		return req, nil
	}
}

// queryResult writes <OpResponse><OpResult>…</OpResult><ResponseMetadata/></OpResponse>.
func queryResult(namespace string) func(op, id string, v any) []byte {
	return func(op, id string, v any) []byte {
		var b bytes.Buffer
		e := xml.NewEncoder(&b)
		response := xml.StartElement{Name: xml.Name{Local: op + "Response"}, Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}}}
		meta := struct{ RequestId string }{id}
		if v == nil {
			v = struct{}{}
		}
		for _, err := range []error{
			e.EncodeToken(response),
			e.EncodeElement(v, xml.StartElement{Name: xml.Name{Local: op + "Result"}}),
			e.EncodeElement(meta, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}),
			e.EncodeToken(response.End()),
			e.Flush(),
		} {
			if err != nil {
				panic("standin: cannot write an answer of " + op + ": " + err.Error())
			}
		}
		return b.Bytes()
	}
}

// queryFailure writes <ErrorResponse><Error/><RequestId/></ErrorResponse>.
func queryFailure(namespace string) func(id string, e apiError) []byte {
	return func(id string, e apiError) []byte {
		kind := "Sender"
		if e.status >= 500 {
			kind = "Receiver"
		}
		type detail struct{ Type, Code, Message string }
		out, err := xml.Marshal(struct {
			XMLName   xml.Name `xml:"ErrorResponse"`
			NS        string   `xml:"xmlns,attr"`
			Error     detail
			RequestId string
		}{NS: namespace, Error: detail{kind, e.code, e.message}, RequestId: id})
		if err != nil {
			panic("standin: cannot write an error: " + err.Error())
		}
		return out
	}
}

func validation(format string, args ...any) *apiError {
	return &apiError{400, "ValidationError", fmt.Sprintf(format, args...)}
}

// required answers as the service does when a parameter is absent.
func required(r request, names ...string) *apiError {
	var missing []string
	for _, name := range names {
		if r.params[name] == "" {
			field := strings.ToLower(name[:1]) + name[1:]
			missing = append(missing, "Value null at '"+field+"' failed to satisfy constraint: Member must not be null")
		}
	}
	return detected(missing)
}

// members reads a list parameter, NAME.member.1 and so on.
func members(r request, name string) []string {
	var list []string
	for n := 1; ; n++ {
		v, ok := r.params[name+".member."+strconv.Itoa(n)]
		if !ok {
			return list
		}
		list = append(list, v)
	}
}

// groupNamed finds a group a client named; mu is held.
func (f *fleet) groupNamed(name string) (*group, *apiError) {
	g, ok := f.groups[name]
	if !ok {
		return nil, validation("AutoScalingGroup name not found - AutoScalingGroup %s not found", name)
	}
	return g, nil
}

// activeAction finds the action a client means: by token, or by instance; mu is held.
func (f *fleet) activeAction(r request) (*Instance, *action, *apiError) {
	if bad := required(r, "AutoScalingGroupName", "LifecycleHookName"); bad != nil {
		return nil, nil, bad
	}
	g, bad := f.groupNamed(r.params["AutoScalingGroupName"])
	if bad != nil {
		return nil, nil, bad
	}
	id, token := r.params["InstanceId"], r.params["LifecycleActionToken"]
	if id == "" && token == "" {
		return nil, nil, validation("Either LifecycleActionToken or InstanceId must be specified")
	}
	for _, inst := range f.all {
		if inst.group != g || (id != "" && inst.ID != id) {
			continue
		}
		for _, a := range inst.actions {
			if a.hook.Name == r.params["LifecycleHookName"] && (token == "" || a.token == token) {
				return inst, a, nil
			}
		}
	}
	if token != "" {
		return nil, nil, validation("No active Lifecycle Action found with token %s", token)
	}
	return nil, nil, validation("No active Lifecycle Action found with instance ID %s", id)
}

func recordLifecycleActionHeartbeat(c *Cloud, r request) (any, *apiError) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	_, a, bad := c.fleet.activeAction(r)
	if bad == nil {
		a.recordHeartbeat()
	}
	return nil, bad
}

func completeLifecycleAction(c *Cloud, r request) (any, *apiError) {
	if bad := required(r, "AutoScalingGroupName", "LifecycleHookName", "LifecycleActionResult"); bad != nil {
		return nil, bad
	}
	result := r.params["LifecycleActionResult"]
	if result != Continue && result != Abandon {
		return nil, validation("Lifecycle Action Result must be one of CONTINUE or ABANDON, not %s", result)
	}
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	inst, a, bad := c.fleet.activeAction(r)
	if bad == nil {
		inst.finish(a, result, false)
	}
	return nil, bad
}

func putLifecycleHook(c *Cloud, r request) (any, *apiError) {
	if bad := required(r, "AutoScalingGroupName", "LifecycleHookName"); bad != nil {
		return nil, bad
	}
	h := Hook{
		Name:                 r.params["LifecycleHookName"],
		Transition:           Transit(r.params["LifecycleTransition"]),
		DefaultResult:        r.params["DefaultResult"],
		NotificationMetadata: r.params["NotificationMetadata"],
	}
	if h.Transition != OnLaunch && h.Transition != OnTerminate {
		return nil, validation("Lifecycle Transition must be one of %s or %s", OnLaunch, OnTerminate)
	}
	if h.DefaultResult != "" && h.DefaultResult != Continue && h.DefaultResult != Abandon {
		return nil, validation("Default Result must be one of CONTINUE or ABANDON")
	}
	if given := r.params["HeartbeatTimeout"]; given != "" {
		n, err := strconv.Atoi(given)
		h.HeartbeatTimeout = time.Duration(n) * time.Second
		if err != nil || h.HeartbeatTimeout < minHeartbeat || h.HeartbeatTimeout > maxHeartbeat {
			return nil, validation("Heartbeat Timeout must be between %d and %d seconds", int(minHeartbeat.Seconds()), int(maxHeartbeat.Seconds()))
		}
	}
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, bad := c.fleet.groupNamed(r.params["AutoScalingGroupName"])
	if bad == nil {
		g.changing()
		g.put(h.complete())
	}
	return nil, bad
}
