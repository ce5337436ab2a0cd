defmodule Crema.RenewalTest do
  use ExUnit.Case, async: true

  test "a producer goes on with another client" do
    cluster = start_supervised!({Crema.Cluster, topics: %{"espresso" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})

    assert {:ok, %{offset: 0}} = Crema.produce(producer, %{topic: "espresso", value: "1"})
    assert :ok = Crema.Renewal.renew(producer)
    assert :ok = Crema.Renewal.renew(producer, kafka: ["client.id": "other"])
    assert {:ok, %{offset: 1}} = Crema.produce(producer, %{topic: "espresso", value: "2"})

    assert {:error, {_, %{message: _}}} =
             Crema.Renewal.renew(producer, [bootstrap_servers: "127.0.0.1:1"], 5000)

    assert {:ok, %{offset: 2}} = Crema.produce(producer, %{topic: "espresso", value: "3"})
  end
end
