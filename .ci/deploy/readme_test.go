package deploy

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/strvals"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestReadme renders the chart with the values that its README and docs/deploy.md have
// people type, and holds the secret that they make to the one that the pods want.
func TestReadme(t *testing.T) {
	for _, name := range []string{chartDir + "/README.md", "../../docs/deploy.md"} {
		t.Run(name, func(t *testing.T) { checkReadme(t, name) })
	}
}

func checkReadme(t *testing.T, name string) {
	readme, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(readme), "\\\n", " ")
	secret := regexp.MustCompile(`(?m)^kubectl create secret generic (\S+) --from-file=([^=\s]+)=\S+$`).FindStringSubmatch(text)
	install := regexp.MustCompile(`(?m)^helm install acme deploy/helm/bpcc-bridge +(.*)$`).FindStringSubmatch(text)
	if secret == nil || install == nil {
		t.Fatalf("no command for the secret or for the chart:\n%s", text)
	}
	values := map[string]any{}
	arguments := strings.Fields(install[1])
	for i := 0; i < len(arguments); i += 2 {
		if arguments[i] != "--set" || i+1 == len(arguments) {
			t.Fatalf("not understood: %v", arguments[i:])
		}
		if err := strvals.ParseInto(arguments[i+1], values); err != nil {
			t.Fatal(err)
		}
	}
	rendered, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := render(t, string(rendered))
	if err != nil {
		t.Fatal(err)
	}
	pod := decode[*appsv1.Deployment](t, manifests["deployment.yaml"]).Spec.Template.Spec
	var file string
	for _, v := range pod.Containers[0].Env {
		if v.Name == "BPCC_CLIENT_SECRET_FILE" {
			file = v.Value
		}
	}
	if path.Base(file) != secret[2] {
		t.Errorf("the README makes %s of the secret, the pods read %s", secret[2], file)
	}
	if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == secret[1] }) {
		t.Errorf("the README makes the secret %s, which no pod mounts: %v", secret[1], pod.Volumes)
	}
}
