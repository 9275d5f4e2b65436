// Package awsmodel holds the stand-in's answers against what AWS publishes of its services: the models of botocore, as
// Debian's python3-botocore ships them, and the types and the documentation text of the AWS SDK for Go. Nobody here wrote
// either. Only tests use it.
//
//	cloud, err := standin.Start(awsmodel.Watch(t, standin.Options{}))
//
// and from then on every answer of Auto Scaling, CodeDeploy and STS, errors included, fails the test when the bytes on the
// wire are not what the model allows: structure, lists, unknown and required members, types, timestamps, enumerations,
// lengths, ranges and patterns; a string outside the "Valid values" of its documentation; an error code the operation
// does not have, or one with another HTTP status. Answers that a test asked to be wrong (Cloud.Fail) are not looked at.
//
// Debian's models are older than the services. An enumeration, a list of valid values or a member that only the SDK has
// counts too. Host commands have no model in either: the stand-in's own checks are all there are (see its package doc).
package awsmodel

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"usher/agent/standin"
)

// watched is the service name of the stand-in to botocore's folder.
var watched = map[string]string{
	"autoscaling": "autoscaling/2011-01-01",
	"codedeploy":  "codedeploy/2014-10-06",
	"sts":         "sts/2011-06-15",
}

// models are read once per process.
var models = sync.OnceValues(func() (map[string]*Model, error) {
	all := map[string]*Model{}
	for service, folder := range watched {
		m, err := load(service, folder)
		if err != nil {
			return nil, err
		}
		all[service] = m
	}
	return all, nil
})

// Of is the model of a service, "autoscaling", "codedeploy" or "sts". Where there is no botocore the test is skipped,
// and fails when CI is set.
func Of(t testing.TB, service string) *Model {
	t.Helper()
	all, err := models()
	if err != nil {
		absent(t, err)
	}
	return all[service]
}

func absent(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// Watch has every answer of a Cloud with these options held against the models. Without models nothing is, outside CI.
func Watch(t testing.TB, o standin.Options) standin.Options {
	t.Helper()
	all, err := models()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		return o
	}
	o.Observe = func(e standin.Exchange) {
		m := all[e.Service]
		if m == nil || e.Faulty {
			return
		}
		for _, wrong := range m.Check(e) {
			t.Errorf("%s.%s answered what AWS's model does not allow: %s\nthe answer: %s", e.Service, e.Op, wrong, e.Body)
		}
	}
	return o
}

// What was checked by this process, in all tests.
var (
	answersChecked, valuesChecked, errorsChecked atomic.Int64

	seen sync.Map // "service.Op" and "service.Op code"
)

// Counts says what was checked so far: answers, documented values, operations and errors.
func Counts() string {
	operations, codes := 0, 0
	seen.Range(func(key, _ any) bool {
		if strings.Contains(key.(string), " ") {
			codes++
		} else {
			operations++
		}
		return true
	})
	return fmt.Sprintf("%d answers validated (%d of them errors: %d of operation and code), %d documented values checked, %d operations",
		answersChecked.Load(), errorsChecked.Load(), codes, valuesChecked.Load(), operations)
}
