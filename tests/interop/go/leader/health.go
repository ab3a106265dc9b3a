// Package leader tells clients by the health service which node leads.
package leader

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Services are the health services that are SERVING on the leader only.
var Services = []string{"Example", "quis.RaftLeader"}

// Health is the health service of a node.
type Health struct {
	server *health.Server
}

// Register adds the health service to a server. The empty service name is always SERVING.
func Register(server *grpc.Server) *Health {
	h := &Health{server: health.NewServer()}
	h.set(false)
	grpc_health_v1.RegisterHealthServer(server, h.server)
	return h
}

// Follow takes in whether the node leads each time that changes.
func (h *Health) Follow(leads <-chan bool) {
	for now := range leads {
		h.set(now)
	}
}

func (h *Health) set(leads bool) {
	status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if leads {
		status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	for _, service := range Services {
		h.server.SetServingStatus(service, status)
	}
}
