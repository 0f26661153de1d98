package deploy

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

func readJSON(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]any{}
	if err := json.Unmarshal(text, &content); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return content
}

// renderDeployment renders the chart with the least values and more.
func renderDeployment(t *testing.T, more string) *appsv1.Deployment {
	t.Helper()
	manifests, err := render(t, readValues(t, "least")+more)
	if err != nil {
		t.Fatal(err)
	}
	return decode[*appsv1.Deployment](t, manifests["deployment.yaml"])
}

var update = flag.Bool("update", false, "TestSchemaOfRules: copy the schema of rules into values.schema.json")

// TestSchemaOfRules checks that values.schema.json ends with the schema of threshold rules as schemas/config
// has it, and has its form of durations.
func TestSchemaOfRules(t *testing.T) {
	const rulesFile, valuesFile = "../../schemas/config/thresholds.json", chartDir + "/values.schema.json"
	between := func(file, begin, end string) (before, within string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, found := strings.Cut(string(text), begin)
		within, _, ends := strings.Cut(rest, end)
		if !found || !ends {
			t.Fatalf("%s has no definitions between %q and %q", file, begin, end)
		}
		return before + begin, within
	}
	const first = "    \"ThresholdRule\": {"
	_, want := between(rulesFile, "  \"$defs\": {\n"+first, "\n  },\n")
	before, got := between(valuesFile, "\n"+first, "\n  }\n}\n")
	if *update {
		got = want
		if err := os.WriteFile(valuesFile, []byte(before+want+"\n  }\n}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != want {
		t.Error("the definitions of rules differ from schemas/config/thresholds.json; -update copies them")
	}
	rules, values := readJSON(t, rulesFile), readJSON(t, valuesFile)
	within := func(in any, path ...string) any {
		for _, name := range path {
			in = in.(map[string]any)[name]
		}
		return in
	}
	if got, want := within(values, "properties", "thresholds", "items"), rules["items"]; !reflect.DeepEqual(got, want) {
		t.Errorf("the items of thresholds are %v, those of schemas/config/thresholds.json %v", got, want)
	}
	duration := within(rules, "$defs", "ThresholdRule", "properties", "for", "pattern")
	if got := within(values, "$defs", "duration", "pattern"); got != duration {
		t.Errorf("the pattern of durations is %v, that of the rules %v", got, duration)
	}
}

// TestDurationsAreChecked checks that values.schema.json knows every variable of the bridge that is a duration.
func TestDurationsAreChecked(t *testing.T) {
	files, err := filepath.Glob("../../bridge/config/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("time\\.Duration +`env:\"([A-Z_]+)").FindAllStringSubmatch(string(text), -1) {
			want = append(want, m[1])
		}
	}
	env := readJSON(t, chartDir+"/values.schema.json")["properties"].(map[string]any)["env"].(map[string]any)
	var got []string
	for name, schema := range env["properties"].(map[string]any) {
		if reflect.DeepEqual(schema, map[string]any{"$ref": "#/$defs/duration"}) {
			got = append(got, name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("values.schema.json has the durations %v of env, the bridge reads %v", got, want)
	}
}

// TestMemoryLimit checks that Go knows of the container's limit, a tenth before it.
func TestMemoryLimit(t *testing.T) {
	for _, limit := range []string{"512Mi", "1Gi", "1.5Gi", "800M", "2G", "1000000k", "536870912"} {
		deployment := renderDeployment(t, "resources: {limits: {memory: "+limit+"}}\n")
		container := deployment.Spec.Template.Spec.Containers[0]
		want := resource.MustParse(limit)
		i := slices.IndexFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" })
		if i < 0 {
			t.Errorf("%s: no GOMEMLIMIT", limit)
			continue
		}
		got := resource.MustParse(container.Env[i].Value)
		if tenths := want.Value() * 9 / 10; got.Value() != tenths || container.Resources.Limits.Memory().Cmp(want) != 0 {
			t.Errorf("%s: GOMEMLIMIT is %s, want %d", limit, container.Env[i].Value, tenths)
		}
	}
	// Without a limit, or with an unusual unit, Go is not limited.
	for _, resources := range []string{"resources: {limits: null}\n", "resources: {limits: {memory: 1e9}}\n", "resources: {limits: {memory: 536870912000m}}\n"} {
		for _, e := range renderDeployment(t, resources).Spec.Template.Spec.Containers[0].Env {
			if e.Name == "GOMEMLIMIT" && e.Value != "900000000" {
				t.Errorf("%s: GOMEMLIMIT is %s", strings.TrimSpace(resources), e.Value)
			}
		}
	}
}

// TestEnvReplacesDefaults checks that variables which the chart sets only by default are those of env and extraEnv.
func TestEnvReplacesDefaults(t *testing.T) {
	got := map[string]string{}
	for _, e := range renderDeployment(t, "env: {BRIDGE_LOG_FORMAT: text}\nextraEnv: [{name: GOMEMLIMIT, value: 300MiB}]\n").Spec.Template.Spec.Containers[0].Env {
		if _, twice := got[e.Name]; twice {
			t.Errorf("%s is set twice", e.Name)
		}
		got[e.Name] = e.Value
	}
	if got["BRIDGE_LOG_FORMAT"] != "text" || got["GOMEMLIMIT"] != "300MiB" {
		t.Errorf("the variables are %v", got)
	}
}

// TestOpenShift checks that the chart leaves user and groups to the platform, and lets DNS through at its port.
func TestOpenShift(t *testing.T) {
	manifests, err := render(t, readValues(t, "openshift"))
	if err != nil {
		t.Fatal(err)
	}
	contexts := map[string]*corev1.PodSecurityContext{
		"deployment": decode[*appsv1.Deployment](t, manifests["deployment.yaml"]).Spec.Template.Spec.SecurityContext,
		"test":       decode[*corev1.Pod](t, manifests["ready.yaml"]).Spec.SecurityContext,
	}
	for what, c := range contexts {
		if c.RunAsUser != nil || c.RunAsGroup != nil || c.FSGroup != nil || !*c.RunAsNonRoot {
			t.Errorf("%s: the security context is %+v", what, c)
		}
	}
	if got := egressPorts(t, manifests["networkpolicy.yaml"]); !slices.Equal(got, []string{"53/UDP", "53/TCP", "5353/UDP", "5353/TCP", "443/TCP", "4222/TCP"}) {
		t.Errorf("egress is allowed to %v", got)
	}
}

// TestProxyPort checks that the network policy lets the bridge reach its proxy.
func TestProxyPort(t *testing.T) {
	manifests, err := render(t, readValues(t, "csi"))
	if err != nil {
		t.Fatal(err)
	}
	if got := egressPorts(t, manifests["networkpolicy.yaml"]); !slices.Contains(got, "3128/TCP") {
		t.Errorf("egress is allowed to %v", got)
	}
}

// egressPorts returns the ports that a network policy lets pods reach anywhere.
func egressPorts(t *testing.T, manifest string) (ports []string) {
	t.Helper()
	for _, rule := range decode[*networkingv1.NetworkPolicy](t, manifest).Spec.Egress {
		for _, port := range rule.Ports {
			ports = append(ports, port.Port.String()+"/"+string(*port.Protocol))
		}
	}
	return ports
}

// TestAlertsAndDashboards checks that the chart has the alerts and the dashboards of deploy/, and packages them.
func TestAlertsAndDashboards(t *testing.T) {
	chart, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	packaged := map[string]string{}
	for _, file := range chart.Files {
		packaged[file.Name] = string(file.Data)
	}
	manifests, err := render(t, readValues(t, "everything"))
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := os.ReadFile("../../deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if packaged["files/alerts.yaml"] != string(alerts) {
		t.Error("files/alerts.yaml is not deploy/prometheus/alerts.yaml")
	}
	var want monitoringv1.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict(alerts, &want); err != nil {
		t.Fatal(err)
	}
	if got := decode[*monitoringv1.PrometheusRule](t, manifests["prometheusrule.yaml"]); len(want.Groups) == 0 || !reflect.DeepEqual(got.Spec, want) {
		t.Error("the PrometheusRule has other rules than deploy/prometheus/alerts.yaml")
	}
	object := decode[*corev1.ConfigMap](t, manifests["dashboard.yaml"])
	if object.Labels["grafana_dashboard"] != "1" {
		t.Errorf("the ConfigMap has the labels %v", object.Labels)
	}
	for key, file := range map[string]string{"bpcc-bridge.json": "dashboard.json", "bpcc-supervisors.json": "supervisors.json"} {
		dashboard, err := os.ReadFile("../../deploy/grafana/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if object.Data[key] != string(dashboard) {
			t.Errorf("%s of the ConfigMap is not deploy/grafana/%s", key, file)
		}
	}
}

// TestEverythingArrives checks that what is given as Kubernetes has it comes out where Kubernetes reads it.
func TestEverythingArrives(t *testing.T) {
	manifests, err := render(t, readValues(t, "everything"))
	if err != nil {
		t.Fatal(err)
	}
	deployment := decode[*appsv1.Deployment](t, manifests["deployment.yaml"])
	pod := deployment.Spec.Template.Spec
	bridge := pod.Containers[0]
	monitor := decode[*monitoringv1.ServiceMonitor](t, manifests["servicemonitor.yaml"]).Spec.Endpoints[0]
	policy := decode[*networkingv1.NetworkPolicy](t, manifests["networkpolicy.yaml"])
	for what, arrived := range map[string]bool{
		"extraEnv":                  slices.ContainsFunc(bridge.Env, func(e corev1.EnvVar) bool { return e.Name == "BRIDGE_PSEUDONYM_KEY" && e.ValueFrom.SecretKeyRef != nil }),
		"envFrom":                   len(bridge.EnvFrom) == 1 && bridge.EnvFrom[0].ConfigMapRef.Name == "more",
		"extraVolumes":              slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "signing" && v.Secret.SecretName == "signing" }),
		"extraVolumeMounts":         slices.ContainsFunc(bridge.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/run/secrets/signing" }),
		"extraContainers":           len(pod.Containers) == 2 && pod.Containers[1].Name == "sidecar",
		"initContainers":            len(pod.InitContainers) == 1,
		"podSecurityContext":        *pod.SecurityContext.RunAsUser == 1000 && *pod.SecurityContext.FSGroup == 65532 && pod.SecurityContext.FSGroupChangePolicy != nil,
		"securityContext":           *bridge.SecurityContext.RunAsNonRoot && *bridge.SecurityContext.ReadOnlyRootFilesystem,
		"livenessProbe":             bridge.LivenessProbe.HTTPGet.Scheme == "HTTPS" && bridge.LivenessProbe.HTTPGet.Path == "/healthz" && bridge.LivenessProbe.FailureThreshold == 5,
		"serviceAccount":            pod.ServiceAccountName == "existing",
		"strategy":                  deployment.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() == 1,
		"topologySpreadConstraints": len(pod.TopologySpreadConstraints) == 1 && pod.TopologySpreadConstraints[0].TopologyKey == "topology.kubernetes.io/zone",
		"affinity":                  pod.Affinity.NodeAffinity != nil,
		"serviceMonitor.endpoint":   *monitor.Scheme == "https" && monitor.Port == "http" && monitor.Path == "/metrics" && monitor.Authorization.Credentials.Name == "bridge-token",
		"networkPolicy.extraEgress": len(policy.Spec.Egress) == 3 && policy.Spec.Egress[2].Ports[0].Port.IntValue() == 4317,
		"networkPolicy.ingressFrom": len(policy.Spec.Ingress[0].From) == 2,
	} {
		if !arrived {
			t.Errorf("%s has not arrived", what)
		}
	}
}

// TestNamesOfTheServer checks that the bridge is reached by the names of its Service, by which the pod of `helm test`
// asks it, and by those of http.hosts.
func TestNamesOfTheServer(t *testing.T) {
	values := readValues(t, "least")
	manifests, err := render(t, values+"\nhttp: {hosts: [bridge.example.com]}\n")
	if err != nil {
		t.Fatal(err)
	}
	variable := func(list []corev1.EnvVar, name string) string {
		i := slices.IndexFunc(list, func(e corev1.EnvVar) bool { return e.Name == name })
		if i < 0 {
			t.Fatalf("no %s", name)
		}
		return list[i].Value
	}
	hosts := strings.Split(variable(decode[*appsv1.Deployment](t, manifests["deployment.yaml"]).Spec.Template.Spec.Containers[0].Env, "BRIDGE_HTTP_HOSTS"), ",")
	service := decode[*corev1.Service](t, manifests["service.yaml"])
	asked, _, _ := strings.Cut(variable(decode[*corev1.Pod](t, manifests["ready.yaml"]).Spec.Containers[0].Env, "BRIDGE_HTTP"), ":")
	for _, name := range []string{service.Name, asked, "bridge.example.com"} {
		if !slices.Contains(hosts, name) {
			t.Errorf("%s is not among the names %v", name, hosts)
		}
	}
}
