package acceptance

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The clients find the endpoints of every partition that botocore knows, the isolated ones included: usher gives them the
// Region of metadata, and no domain of its own.
func TestEndpointsOfEveryPartition(t *testing.T) {
	text, err := os.ReadFile("/usr/lib/python3/dist-packages/botocore/data/partitions.json")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("botocore is not installed")
	}
	var known struct {
		Partitions []struct {
			ID      string
			Outputs struct{ DNSSuffix string }
			Regions map[string]any
		}
	}
	if err := json.Unmarshal(text, &known); err != nil || len(known.Partitions) < 5 {
		t.Fatalf("botocore's partitions cannot be read: %v, %d of them", err, len(known.Partitions))
	}
	for _, p := range known.Partitions {
		for region := range p.Regions {
			if strings.HasSuffix(region, "-global") {
				continue
			}
			scaling, err1 := autoscaling.NewDefaultEndpointResolverV2().ResolveEndpoint(t.Context(), autoscaling.EndpointParameters{Region: &region}.WithDefaults())
			deploy, err2 := codedeploy.NewDefaultEndpointResolverV2().ResolveEndpoint(t.Context(), codedeploy.EndpointParameters{Region: &region}.WithDefaults())
			objects, err3 := s3.NewDefaultEndpointResolverV2().ResolveEndpoint(t.Context(), s3.EndpointParameters{Region: &region, Bucket: aws.String("revisions")}.WithDefaults())
			if err1 != nil || err2 != nil || err3 != nil {
				t.Errorf("%s in %s: %v %v %v", region, p.ID, err1, err2, err3)
				continue
			}
			for got, want := range map[string]string{
				scaling.URI.Host: "autoscaling." + region + "." + p.Outputs.DNSSuffix,
				deploy.URI.Host:  "codedeploy." + region + "." + p.Outputs.DNSSuffix,
				objects.URI.Host: "revisions.s3." + region + "." + p.Outputs.DNSSuffix,
			} {
				if got != want {
					t.Errorf("%s in %s: %s, want %s", region, p.ID, got, want)
				}
			}
		}
	}
}
