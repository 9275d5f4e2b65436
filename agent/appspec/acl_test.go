package appspec

import "testing"

// TestACE reads one ACL entry and writes it out as setfacl takes it, or says what is wrong.
func TestACE(t *testing.T) {
	const (
		form   = "must be [default:][user:|group:]NAME:PERMISSIONS or [default:]mask::PERMISSIONS, such as u:deploy:rw"
		base   = "sets the permissions of owner, group or others: use mode for those"
		noName = "mask and other take no name"
	)
	perms := func(s string) string {
		return "permissions \"" + s + "\" must be one digit from 0 to 7, or letters such as rw- or r-x"
	}
	for _, c := range []struct{ in, want, err string }{
		// Users and groups by name.
		{"deploy:rw", "user:deploy:rw-", ""},
		{"u:deploy:rwx", "user:deploy:rwx", ""},
		{"user:deploy:r-x", "user:deploy:r-x", ""},
		{"g:www-data:5", "group:www-data:r-x", ""},
		{"group:www-data:---", "group:www-data:---", ""},
		{"u:1000:7", "user:1000:rwx", ""},
		{"u:u:7", "user:u:rwx", ""},
		{"u:mask:7", "user:mask:rwx", ""},

		// Mask, and the default entries, base ones among them.
		{"m::rx", "mask::r-x", ""},
		{"mask::0", "mask::---", ""},
		{"m:6", "mask::rw-", ""},
		{"d:deploy:rw", "default:user:deploy:rw-", ""},
		{"default:g:www-data:rx", "default:group:www-data:r-x", ""},
		{"d:u:deploy:7", "default:user:deploy:rwx", ""},
		{"d::7", "default:user::rwx", ""},
		{"d:u::7", "default:user::rwx", ""},
		{"d:g::5", "default:group::r-x", ""},
		{"d:o::0", "default:other::---", ""},
		{"d:o:0", "default:other::---", ""},
		{"d:m:7", "default:mask::rwx", ""},
		{"d:mask::7", "default:mask::rwx", ""},

		// Permissions: one digit, or letters in any order.
		{"deploy:xwr", "user:deploy:rwx", ""},
		{"deploy:-", "user:deploy:---", ""},
		{"deploy:--x", "user:deploy:--x", ""},
		{"deploy:", "", perms("")},
		{"deploy:8", "", perms("8")},
		{"deploy:77", "", perms("77")},
		{"deploy:rr", "", perms("rr")},
		{"deploy:rwxr", "", perms("rwxr")},
		{"deploy:rwX", "", perms("rwX")},
		{"u:deploy:r w", "", perms("r w")},

		// The base entries are the mode's.
		{":7", "", base},
		{"u::7", "", base},
		{"g::7", "", base},
		{"o::7", "", base},
		{"o:7", "", base},
		{"other:7", "", base},

		// What CodeDeploy would take for a user of that name.
		{"u:7", "", "names nobody: for a user called u write user:u:PERMISSIONS"},
		{"group:rx", "", "names nobody: for a user called group write user:group:PERMISSIONS"},
		{"d:7", "", "names nobody: for a user called d write user:d:PERMISSIONS"},
		{"d:g:7", "", "names nobody: for a user called g write user:g:PERMISSIONS"},

		// What is no entry.
		{"rwx", "", form},
		{"7", "", form},
		{"x:deploy:7", "", form},
		{"u:g:deploy:7", "", form},
		{"d:d:u:deploy:7", "", form},
		{"d:d:deploy:7", "", form},
		{":deploy:7", "", form},
		{"m:deploy:7", "", noName},
		{"d:o:deploy:7", "", noName},
		{"u:de ploy:7", "", "\"de ploy\" cannot be a name"},
		{"u:deploy,g:7", "", "\"deploy,g\" cannot be a name"},
		{"u:a,b:7", "", "\"a,b\" cannot be a name"},
	} {
		ace, err := parseACE(c.in)
		got, gotErr := "", ""
		if err != nil {
			gotErr = err.Error()
		} else {
			got = ace.String()
		}
		if got != c.want || gotErr != c.err {
			t.Errorf("%s: got %q, error %q\nwant %q, error %q", c.in, got, gotErr, c.want, c.err)
		}
		if err == nil {
			if again, err := parseACE(got); err != nil || again != ace {
				t.Errorf("%s is written as %s, which is read as %+v, %v", c.in, got, again, err)
			}
		}
	}
}

func TestRange(t *testing.T) {
	const form = "must be sN or sN-sN, then :cN, :cN.cN or a list of them, such as s0-s3:c0.c7,c13"
	for in, want := range map[string]string{
		"s0":                    "",
		"s0-s0":                 "",
		"s0-s15":                "",
		"s0:c0":                 "",
		"s0:c0.c1023":           "",
		"s0-s3:c0.c7,c13":       "",
		"s3-s0":                 "its second sensitivity is lower than its first",
		"s0:c7.c0":              "c7.c0 runs backwards",
		"s0:c1024":              "category numbers go up to c1023",
		"s0:c0.c99999":          "category numbers go up to c1023",
		"s0:c1,c1":              "c1 is named twice",
		"s0:c0.c5,c3":           "c3 is named twice",
		"":                      form,
		"s":                     form,
		"0":                     form,
		"s0-":                   form,
		"s0-c1":                 form,
		"s0:":                   form,
		"s0:c":                  form,
		"s0:c1,":                form,
		"s0:c1.":                form,
		"s0:c-1":                form,
		"s0:c1:c2":              form,
		"SystemLow-SystemHigh":  form,
		"s99999999999999999999": form,
	} {
		got := ""
		if err := checkRange(in); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestContextString(t *testing.T) {
	for _, c := range []struct {
		in   Context
		want string
	}{
		{Context{"unconfined_u", "tmp_t", "s0-s3:c0.c7"}, "unconfined_u:object_r:tmp_t:s0-s3:c0.c7"},
		{Context{"", "tmp_t", ""}, "system_u:object_r:tmp_t:s0"},
	} {
		if got := c.in.String(); got != c.want {
			t.Errorf("%+v is %s, want %s", c.in, got, c.want)
		}
	}
}
