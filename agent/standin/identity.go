package standin

import (
	"strings"
	"time"
)

// stsVersion is the API version of the Security Token Service.
const stsVersion = "2011-06-15"

// userName is who a Cloud's own credentials belong to.
const userName = "operator"

// identityWire is the Security Token Service, of which only who one is, and who one may become, is answered.
var identityWire = wire{
	name:        "sts",
	contentType: "text/xml",
	parse:       parseQuery(stsVersion),
	result:      queryResult("https://sts.amazonaws.com/doc/" + stsVersion + "/"),
	failure:     queryFailure("https://sts.amazonaws.com/doc/" + stsVersion + "/"),
	refused: map[refusal]apiError{
		unsigned:       {code: "MissingAuthenticationToken"},
		unknownKey:     {code: "InvalidClientTokenId"},
		expiredKey:     {code: "ExpiredToken"},
		wrongSignature: {code: "SignatureDoesNotMatch"},
	},
	throttled:  apiError{400, "Throttling", "Rate exceeded"},
	operations: map[string]operation{"GetCallerIdentity": getCallerIdentity, "AssumeRole": assumeRole, "AssumeRoleWithWebIdentity": assumeRoleWithWebIdentity},
	open:       []string{"AssumeRoleWithWebIdentity"},
	unknown: func(op string) apiError {
		return apiError{400, "InvalidAction", "Could not find operation " + op + " for version " + stsVersion}
	},
}

// Role is a role of the account that the Cloud's user may assume, or a CI job.
type Role struct {
	Name  string
	MFA   string // the code that is right; "" for a role that asks for none
	Token string // of a job's identity; with one the role is for jobs alone
}

// MFADevice is the device that the user's MFA codes are of.
const MFADevice = "arn:aws:iam::" + Account + ":mfa/" + userName

// PutRole makes a role, or changes it.
func (c *Cloud) PutRole(r Role) {
	c.roles.Store(r.Name, r)
}

// RoleARN is the ARN of a role.
func RoleARN(name string) string { return "arn:aws:iam::" + Account + ":role/" + name }

// getCallerIdentity answers with the Cloud's user, with the role that it has assumed, or with the role session of an instance.
func getCallerIdentity(c *Cloud, r request) (any, *apiError) {
	type identity struct{ Arn, UserId, Account string }
	switch {
	case r.session != "":
		_, name, _ := strings.Cut(r.session, "/")
		return identity{assumedARN(r.session), "AROASTANDIN0ASSUMED00:" + name, Account}, nil
	case r.instance == "":
		return identity{userARN, "AIDASTANDIN0OPERATOR", Account}, nil
	}
	role := defaultRole
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	for _, inst := range c.fleet.all {
		if inst.ID == r.instance && inst.group != nil {
			role = inst.group.Role
		}
	}
	return identity{assumedARN(role + "/" + r.instance), "AROASTANDINSTANCEROLE:" + r.instance, Account}, nil
}

// userARN is who a Cloud's own credentials belong to.
const userARN = "arn:aws:iam::" + Account + ":user/" + userName

// assumedARN is that of ROLE/SESSION.
func assumedARN(session string) string {
	return "arn:aws:sts::" + Account + ":assumed-role/" + session
}

// defaultSession is how long an assumed role lasts.
const defaultSession = time.Hour

// assumeRole gives out credentials of a role. A role that is not there is refused as one that the caller may not assume.
func assumeRole(c *Cloud, r request) (any, *apiError) {
	arn, session := r.params["RoleArn"], r.params["RoleSessionName"]
	if arn == "" || session == "" {
		return nil, &apiError{400, "ValidationError", "1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null"}
	}
	caller := userARN
	if r.session != "" {
		caller = assumedARN(r.session)
	}
	stored, ok := c.roles.Load(strings.TrimPrefix(arn, RoleARN("")))
	role, _ := stored.(Role)
	serial, code := r.params["SerialNumber"], r.params["TokenCode"]
	denied := func(message string) (any, *apiError) { return nil, &apiError{403, "AccessDenied", message} }
	switch {
	case (serial == "") != (code == ""):
		return denied("MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code. ")
	case serial != "" && serial != MFADevice:
		return denied("MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.")
	case serial != "" && (!ok || code != role.MFA):
		return denied("MultiFactorAuthentication failed with invalid MFA one time pass code. ")
	case !ok, role.MFA != "" && serial == "", role.Token != "":
		return denied("User: " + caller + " is not authorized to perform: sts:AssumeRole on resource: " + arn)
	}
	return c.sessionOf(role, session), nil
}

// assumeRoleWithWebIdentity gives out credentials of a role for a job's token.
func assumeRoleWithWebIdentity(c *Cloud, r request) (any, *apiError) {
	stored, _ := c.roles.Load(strings.TrimPrefix(r.params["RoleArn"], RoleARN("")))
	role, _ := stored.(Role)
	switch token := r.params["WebIdentityToken"]; {
	case len(token) < 4:
		return nil, &apiError{400, "InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"}
	case role.Token == "" || token != role.Token:
		return nil, &apiError{403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"}
	}
	return c.sessionOf(role, r.params["RoleSessionName"]), nil
}

// roleSession is what whoever has assumed a role is given.
type roleSession struct {
	Credentials     struct{ AccessKeyId, SecretAccessKey, SessionToken, Expiration string }
	AssumedRoleUser struct{ AssumedRoleId, Arn string }
}

// sessionOf makes credentials of a role.
func (c *Cloud) sessionOf(role Role, name string) (s roleSession) {
	made := keys.issueRole(c, role.Name+"/"+name, defaultSession)
	s.Credentials.AccessKeyId, s.Credentials.SecretAccessKey, s.Credentials.SessionToken = made.key, made.secret, made.token
	s.Credentials.Expiration = made.expires.UTC().Format(time.RFC3339)
	s.AssumedRoleUser.AssumedRoleId, s.AssumedRoleUser.Arn = "AROASTANDIN0ASSUMED00:"+name, assumedARN(role.Name+"/"+name)
	return s
}
