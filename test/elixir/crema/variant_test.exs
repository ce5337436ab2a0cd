defmodule Crema.VariantTest do
  use ExUnit.Case, async: true

  setup_all do
    cluster = start_supervised!({Crema.Cluster, topics: %{"espresso" => 1, "lungo" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    options = [bootstrap_servers: bootstrap, ordering: :loose, kafka: [acks: "all"]]
    {:ok, producer: start_supervised!({Crema.Producer, options})}
  end

  test "a variant has settings of its own", %{producer: producer} do
    assert {:ok, quick} =
             Crema.variant(producer, timeout: 20_000, on_full: nil, topic_config: [acks: 0])

    assert {:ok, %{offset: offset}} = Crema.produce(quick, %{topic: "espresso", value: "1"})
    assert offset < 0
    assert {:error, {:topic_config_conflict, _}} = Crema.produce(producer, %{topic: "espresso"})
    assert {:ok, %{offset: 0}} = Crema.produce(producer, %{topic: "lungo"})
    assert :ok = Crema.flush(quick, 10_000)
  end

  test "what is wrong is told", %{producer: producer} do
    assert {:error, {:bad_options, %{message: message}}} =
             Crema.variant(producer, topic_config: %{"linger.ms": 1})

    assert message =~ "linger.ms"
  end
end
