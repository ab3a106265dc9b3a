// Command admin calls a RaftAdmin method of a node, waits for the outcome of an operation, and prints what it gets.
//
//	admin host:port AddVoter '{"id": "nodeB", "address": "localhost:50052"}'
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"reflect"
	"time"

	"github.com/golang/protobuf/jsonpb"
	"github.com/golang/protobuf/proto"
	"google.golang.org/grpc"

	"raftpeer/pb"
)

const (
	timeout        = 10 * time.Second
	outcomeTimeout = time.Minute
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: admin HOST:PORT METHOD JSON")
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(address, method, request string) error {
	connection, err := grpc.Dial(address, grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewRaftAdminClient(connection)
	response, err := call(client, method, request)
	if err != nil {
		return err
	}
	if future, ok := response.(*pb.Future); ok {
		outcome, err := await(client, future)
		if err != nil {
			return err
		}
		if outcome.Error != "" {
			return fmt.Errorf("%s", outcome.Error)
		}
		response = outcome
	}
	return print(response)
}

// call finds the method by its name and makes its request from JSON, whichever method it is.
func call(client pb.RaftAdminClient, name, text string) (proto.Message, error) {
	method := reflect.ValueOf(client).MethodByName(name)
	if !method.IsValid() {
		return nil, fmt.Errorf("RaftAdmin has no method %s", name)
	}
	request := reflect.New(method.Type().In(1).Elem())
	if err := jsonpb.UnmarshalString(text, request.Interface().(proto.Message)); err != nil {
		return nil, fmt.Errorf("%s is no request of %s: %v", text, name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	results := method.Call([]reflect.Value{reflect.ValueOf(ctx), request})
	if err, ok := results[1].Interface().(error); ok {
		return nil, err
	}
	return results[0].Interface().(proto.Message), nil
}

func await(client pb.RaftAdminClient, future *pb.Future) (*pb.AwaitResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), outcomeTimeout)
	defer cancel()
	outcome, err := client.Await(ctx, future)
	if err != nil {
		return nil, err
	}
	_, err = client.Forget(ctx, future)
	return outcome, err
}

func print(message proto.Message) error {
	marshaler := jsonpb.Marshaler{OrigName: true, EmitDefaults: true}
	if err := marshaler.Marshal(os.Stdout, message); err != nil {
		return err
	}
	fmt.Println()
	return nil
}
