defmodule Crema.ClusterTest do
  use ExUnit.Case, async: true

  test "brokers answer by errors for as often as they are told to" do
    cluster = start_supervised!({Crema.Cluster, topics: %{"espresso" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    message = %{topic: "espresso", value: "1"}

    :ok = Crema.Cluster.fail(cluster, :produce, [:not_leader_for_partition, :invalid_record])

    assert {:error, {:invalid_record, %{status: :not_persisted}}} =
             Crema.produce(producer, message)

    assert {:ok, %{offset: 0}} = Crema.produce(producer, message)
    assert_raise ArgumentError, fn -> Crema.Cluster.fail(cluster, :produce, [:no_such_error]) end
  end
end
