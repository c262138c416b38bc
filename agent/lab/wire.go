package lab

import (
	"encoding/json"
	"strconv"
	"time"
)

// The shapes of the public API, field names as on the wire. What the lab only keeps and gives back stays raw.

// epoch is a time as JSON 1.1 writes it: seconds since 1970 with a fraction.
type epoch time.Time

// MarshalJSON writes milliseconds as the service does.
func (e epoch) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(e).UnixMilli())/1000, 'f', 3, 64), nil
}

// UnmarshalJSON reads a number.
func (e *epoch) UnmarshalJSON(data []byte) error {
	var seconds float64
	if err := json.Unmarshal(data, &seconds); err != nil {
		return err
	}
	*e = epoch(time.UnixMilli(int64(seconds * 1000)))
	return nil
}

func stamp(t time.Time) *epoch { return (*epoch)(&t) }

type tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

type tagFilter struct {
	Key   string `json:"Key,omitempty"`
	Value string `json:"Value,omitempty"`
	Type  string `json:"Type,omitempty"`
}

type s3Location struct {
	Bucket     string `json:"bucket,omitempty"`
	Key        string `json:"key,omitempty"`
	BundleType string `json:"bundleType,omitempty"`
	Version    string `json:"version,omitempty"`
	ETag       string `json:"eTag,omitempty"`
}

type gitHubLocation struct {
	Repository string `json:"repository,omitempty"`
	CommitID   string `json:"commitId,omitempty"`
}

type revisionLocation struct {
	RevisionType   string          `json:"revisionType,omitempty"`
	S3Location     *s3Location     `json:"s3Location,omitempty"`
	GitHubLocation *gitHubLocation `json:"gitHubLocation,omitempty"`
}

type genericRevisionInfo struct {
	Description      string   `json:"description,omitempty"`
	DeploymentGroups []string `json:"deploymentGroups"`
	FirstUsedTime    *epoch   `json:"firstUsedTime,omitempty"`
	LastUsedTime     *epoch   `json:"lastUsedTime,omitempty"`
	RegisterTime     *epoch   `json:"registerTime,omitempty"`
}

type applicationInfo struct {
	ApplicationID   string `json:"applicationId"`
	ApplicationName string `json:"applicationName"`
	CreateTime      *epoch `json:"createTime"`
	LinkedToGitHub  bool   `json:"linkedToGitHub"`
	ComputePlatform string `json:"computePlatform"`
}

type named struct {
	Name string `json:"name"`
}

type style struct {
	DeploymentType   string `json:"deploymentType,omitempty"`
	DeploymentOption string `json:"deploymentOption,omitempty"`
}

type autoRollback struct {
	Enabled bool     `json:"enabled"`
	Events  []string `json:"events,omitempty"`
}

type blueGreen struct {
	Terminate *struct {
		Action                       string `json:"action,omitempty"`
		TerminationWaitTimeInMinutes int    `json:"terminationWaitTimeInMinutes,omitempty"`
	} `json:"terminateBlueInstancesOnDeploymentSuccess,omitempty"`
	Ready *struct {
		ActionOnTimeout   string `json:"actionOnTimeout,omitempty"`
		WaitTimeInMinutes int    `json:"waitTimeInMinutes,omitempty"`
	} `json:"deploymentReadyOption,omitempty"`
	Green *struct {
		Action string `json:"action,omitempty"`
	} `json:"greenFleetProvisioningOption,omitempty"`
}

type ec2TagSet struct {
	List [][]tagFilter `json:"ec2TagSetList,omitempty"`
}

type onPremisesTagSet struct {
	List [][]tagFilter `json:"onPremisesTagSetList,omitempty"`
}

type lastDeployment struct {
	DeploymentID string `json:"deploymentId"`
	Status       string `json:"status"`
	EndTime      *epoch `json:"endTime,omitempty"`
	CreateTime   *epoch `json:"createTime"`
}

// groupSettings is what a deployment group is created and updated with; a nil field is left as it was.
type groupSettings struct {
	DeploymentConfigName         string            `json:"deploymentConfigName,omitempty"`
	EC2TagFilters                []tagFilter       `json:"ec2TagFilters,omitempty"`
	OnPremisesInstanceTagFilters []tagFilter       `json:"onPremisesInstanceTagFilters,omitempty"`
	ServiceRoleArn               string            `json:"serviceRoleArn,omitempty"`
	TriggerConfigurations        json.RawMessage   `json:"triggerConfigurations,omitempty"`
	AlarmConfiguration           json.RawMessage   `json:"alarmConfiguration,omitempty"`
	AutoRollbackConfiguration    *autoRollback     `json:"autoRollbackConfiguration,omitempty"`
	OutdatedInstancesStrategy    string            `json:"outdatedInstancesStrategy,omitempty"`
	DeploymentStyle              *style            `json:"deploymentStyle,omitempty"`
	BlueGreen                    *blueGreen        `json:"blueGreenDeploymentConfiguration,omitempty"`
	LoadBalancerInfo             json.RawMessage   `json:"loadBalancerInfo,omitempty"`
	EC2TagSet                    *ec2TagSet        `json:"ec2TagSet,omitempty"`
	OnPremisesTagSet             *onPremisesTagSet `json:"onPremisesTagSet,omitempty"`
	TerminationHookEnabled       *bool             `json:"terminationHookEnabled,omitempty"`
}

type deploymentGroupInfo struct {
	ApplicationName     string `json:"applicationName"`
	DeploymentGroupID   string `json:"deploymentGroupId"`
	DeploymentGroupName string `json:"deploymentGroupName"`
	groupSettings
	AutoScalingGroups        []named           `json:"autoScalingGroups"`
	TargetRevision           *revisionLocation `json:"targetRevision,omitempty"`
	LastSuccessfulDeployment *lastDeployment   `json:"lastSuccessfulDeployment,omitempty"`
	LastAttemptedDeployment  *lastDeployment   `json:"lastAttemptedDeployment,omitempty"`
	ComputePlatform          string            `json:"computePlatform"`
}

type minimumHealthyHosts struct {
	Type  string `json:"type"`
	Value int    `json:"value"`
}

type deploymentConfigInfo struct {
	DeploymentConfigID   string               `json:"deploymentConfigId"`
	DeploymentConfigName string               `json:"deploymentConfigName"`
	MinimumHealthyHosts  *minimumHealthyHosts `json:"minimumHealthyHosts,omitempty"`
	CreateTime           *epoch               `json:"createTime"`
	ComputePlatform      string               `json:"computePlatform"`
	ZonalConfig          json.RawMessage      `json:"zonalConfig,omitempty"`
}

type errorInformation struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type overview struct {
	Pending    int `json:"Pending"`
	InProgress int `json:"InProgress"`
	Succeeded  int `json:"Succeeded"`
	Failed     int `json:"Failed"`
	Skipped    int `json:"Skipped"`
	Ready      int `json:"Ready"`
}

type rollbackInfo struct {
	RollbackDeploymentID           string `json:"rollbackDeploymentId,omitempty"`
	RollbackTriggeringDeploymentID string `json:"rollbackTriggeringDeploymentId,omitempty"`
	RollbackMessage                string `json:"rollbackMessage,omitempty"`
}

type targetInstances struct {
	TagFilters        []tagFilter `json:"tagFilters,omitempty"`
	AutoScalingGroups []string    `json:"autoScalingGroups,omitempty"`
	EC2TagSet         *ec2TagSet  `json:"ec2TagSet,omitempty"`
}

type deploymentInfo struct {
	ApplicationName                    string            `json:"applicationName"`
	DeploymentGroupName                string            `json:"deploymentGroupName"`
	DeploymentConfigName               string            `json:"deploymentConfigName"`
	DeploymentID                       string            `json:"deploymentId"`
	PreviousRevision                   *revisionLocation `json:"previousRevision,omitempty"`
	Revision                           *revisionLocation `json:"revision"`
	Status                             string            `json:"status"`
	ErrorInformation                   *errorInformation `json:"errorInformation,omitempty"`
	CreateTime                         *epoch            `json:"createTime"`
	StartTime                          *epoch            `json:"startTime,omitempty"`
	CompleteTime                       *epoch            `json:"completeTime,omitempty"`
	DeploymentOverview                 *overview         `json:"deploymentOverview,omitempty"`
	Description                        string            `json:"description,omitempty"`
	Creator                            string            `json:"creator"`
	IgnoreApplicationStopFailures      bool              `json:"ignoreApplicationStopFailures"`
	AutoRollbackConfiguration          *autoRollback     `json:"autoRollbackConfiguration,omitempty"`
	UpdateOutdatedInstancesOnly        bool              `json:"updateOutdatedInstancesOnly"`
	RollbackInfo                       *rollbackInfo     `json:"rollbackInfo,omitempty"`
	DeploymentStyle                    *style            `json:"deploymentStyle"`
	TargetInstances                    *targetInstances  `json:"targetInstances,omitempty"`
	InstanceTerminationWaitTimeStarted bool              `json:"instanceTerminationWaitTimeStarted"`
	BlueGreen                          *blueGreen        `json:"blueGreenDeploymentConfiguration,omitempty"`
	LoadBalancerInfo                   json.RawMessage   `json:"loadBalancerInfo,omitempty"`
	FileExistsBehavior                 string            `json:"fileExistsBehavior"`
	DeploymentStatusMessages           []string          `json:"deploymentStatusMessages"`
	ComputePlatform                    string            `json:"computePlatform"`
}

type lifecycleEvent struct {
	LifecycleEventName string       `json:"lifecycleEventName"`
	Diagnostics        *Diagnostics `json:"diagnostics,omitempty"`
	StartTime          *epoch       `json:"startTime,omitempty"`
	EndTime            *epoch       `json:"endTime,omitempty"`
	Status             string       `json:"status"`
}

type instanceSummary struct {
	DeploymentID    string           `json:"deploymentId"`
	InstanceID      string           `json:"instanceId"`
	Status          string           `json:"status"`
	LastUpdatedAt   *epoch           `json:"lastUpdatedAt,omitempty"`
	LifecycleEvents []lifecycleEvent `json:"lifecycleEvents"`
	InstanceType    string           `json:"instanceType,omitempty"`
}

type instanceTarget struct {
	DeploymentID    string           `json:"deploymentId"`
	TargetID        string           `json:"targetId"`
	TargetArn       string           `json:"targetArn"`
	Status          string           `json:"status"`
	LastUpdatedAt   *epoch           `json:"lastUpdatedAt,omitempty"`
	LifecycleEvents []lifecycleEvent `json:"lifecycleEvents"`
	InstanceLabel   string           `json:"instanceLabel,omitempty"`
}

type deploymentTarget struct {
	DeploymentTargetType string          `json:"deploymentTargetType"`
	InstanceTarget       *instanceTarget `json:"instanceTarget"`
}

type instanceInfo struct {
	InstanceName   string `json:"instanceName"`
	IamSessionArn  string `json:"iamSessionArn,omitempty"`
	IamUserArn     string `json:"iamUserArn,omitempty"`
	InstanceArn    string `json:"instanceArn"`
	RegisterTime   *epoch `json:"registerTime,omitempty"`
	DeregisterTime *epoch `json:"deregisterTime,omitempty"`
	Tags           []tag  `json:"tags,omitempty"`
}
