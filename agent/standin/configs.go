package standin

// oneAtATime is the configuration of a group that names none.
const oneAtATime = "CodeDeployDefault.OneAtATime"

// deploymentConfig is a rule of how many instances may be out of service at a time.
type deploymentConfig struct {
	id string

	// kind and value are the minimum of healthy hosts as the API shows it. MOST_CONCURRENCY is a kind of
	// the service's own configurations only.
	kind  string
	value int

	// minimumHealthy is how many of size instances must be healthy while others are deployed to: neither under way
	// nor failed.
	minimumHealthy func(size int) int
}

// deploymentConfigs are the ones every account has.
var deploymentConfigs = map[string]deploymentConfig{
	oneAtATime: {
		id: "00000000-0000-0000-0000-000000000001", kind: "MOST_CONCURRENCY", value: 1,
		minimumHealthy: func(size int) int { return max(0, size-1) },
	},
	"CodeDeployDefault.HalfAtATime": { // rounded up, but a single instance can be deployed to
		id: "00000000-0000-0000-0000-000000000002", kind: "FLEET_PERCENT", value: 50,
		minimumHealthy: func(size int) int { return max(0, min((size+1)/2, size-1)) },
	},
	"CodeDeployDefault.AllAtOnce": {
		id: "00000000-0000-0000-0000-000000000003", kind: "FLEET_PERCENT", value: 0,
		minimumHealthy: func(int) int { return 0 },
	},
}

func noSuchConfig(name string) *apiError {
	return &apiError{400, "DeploymentConfigDoesNotExistException", "No deployment configuration found for name: " + name}
}

func getDeploymentConfig(c *Cloud, r request) (any, *apiError) {
	name := r.params["deploymentConfigName"]
	if bad := checkName(name, "DeploymentConfig"); bad != nil {
		return nil, bad
	}
	config, ok := deploymentConfigs[name]
	if !ok {
		return nil, noSuchConfig(name)
	}
	return map[string]any{"deploymentConfigInfo": map[string]any{
		"deploymentConfigId": config.id, "deploymentConfigName": name, "computePlatform": "Server",
		"createTime":          epoch(c.began),
		"minimumHealthyHosts": map[string]any{"type": config.kind, "value": config.value},
	}}, nil
}
