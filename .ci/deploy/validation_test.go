package deploy

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
)

// validate returns what the API server of Kubernetes finds wrong in a manifest that is to be created, with its
// own defaults and validation. Kinds that are not Kubernetes' own are not judged.
func validate(t *testing.T, manifest string) field.ErrorList {
	t.Helper()
	object, err := runtime.Decode(legacyscheme.Codecs.UniversalDecoder(), []byte(manifest))
	if runtime.IsNotRegisteredError(err) {
		return nil
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, manifest)
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		t.Fatal(err)
	}
	accessor.SetNamespace("contact-centre")
	switch o := object.(type) {
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(o, corevalidation.PodValidationOptions{})
	case *core.Pod:
		return corevalidation.ValidatePodCreate(o, corevalidation.PodValidationOptions{})
	case *core.Service:
		// The server's storage fills it before it validates.
		o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
		return corevalidation.ValidateServiceCreate(o)
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o)
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o)
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{})
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{})
	}
	t.Errorf("%T is not validated", object)
	return nil
}

// TestObjectsAreValid checks what the chart renders as the API server does.
func TestObjectsAreValid(t *testing.T) {
	for _, name := range valuesFiles(t) {
		manifests, err := render(t, readValues(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for file, manifest := range manifests {
			if file == "NOTES.txt" {
				continue
			}
			for _, err := range validate(t, manifest) {
				t.Errorf("%s, %s: %v", name, file, err)
			}
		}
	}
	// The validation can fail: a port that is none, and a volume that nothing defines.
	for _, values := range []string{
		"extraContainers: [{name: a, image: b, ports: [{containerPort: 70000}]}]",
		"extraVolumeMounts: [{name: nothing, mountPath: /a}]",
	} {
		manifests, err := render(t, readValues(t, "least")+values)
		if err != nil {
			t.Fatal(err)
		}
		if len(validate(t, manifests["deployment.yaml"])) == 0 {
			t.Errorf("the API server has nothing against %s", values)
		}
	}
}
