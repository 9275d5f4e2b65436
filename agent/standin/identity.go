package standin

// stsVersion is the API version of the Security Token Service.
const stsVersion = "2011-06-15"

// userName is who a Cloud's own credentials belong to.
const userName = "operator"

// identityWire is the Security Token Service, of which only the question who one is is answered.
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
	operations: map[string]operation{"GetCallerIdentity": getCallerIdentity},
	unknown: func(op string) apiError {
		return apiError{400, "InvalidAction", "Could not find operation " + op + " for version " + stsVersion}
	},
}

// getCallerIdentity answers with the Cloud's user, or with the role session of an instance.
func getCallerIdentity(c *Cloud, r request) (any, *apiError) {
	type identity struct{ Arn, UserId, Account string }
	if r.instance == "" {
		return identity{"arn:aws:iam::" + Account + ":user/" + userName, "AIDASTANDIN0OPERATOR", Account}, nil
	}
	role := defaultRole
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	for _, inst := range c.fleet.all {
		if inst.ID == r.instance && inst.group != nil {
			role = inst.group.Role
		}
	}
	return identity{"arn:aws:sts::" + Account + ":assumed-role/" + role + "/" + r.instance, "AROASTANDINSTANCEROLE:" + r.instance, Account}, nil
}
