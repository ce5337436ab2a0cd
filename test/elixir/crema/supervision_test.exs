defmodule Crema.SupervisionTest do
  # Clients are children as any other: of ExUnit's supervisor, of one's own, by any kind of name.
  use ExUnit.Case, async: true

  defmodule Handler do
    use Crema.Consumer, group: "supervised", topics: ["supervised"], restart: :temporary

    @impl true
    def handle_message(message, test) do
      send(test, {:handled, message.value})
      {:ack, test}
    end

    @impl true
    def terminate(why, test), do: send(test, {:ended, why})
  end

  setup do
    cluster = start_supervised!({Crema.Cluster, topics: %{"supervised" => 1}})
    registry = :"#{__MODULE__}.#{System.unique_integer([:positive])}"
    start_supervised!({Registry, keys: :unique, name: registry})
    via = &{:via, Registry, {registry, &1}}
    {:ok, bootstrap: Crema.Cluster.bootstrap_servers(cluster), via: via}
  end

  test "names of a registry, and what is started last is stopped first", context do
    %{bootstrap: bootstrap, via: via} = context
    opts = %{bootstrap_servers: bootstrap, name: via.(:producer), shutdown: 7_000}
    assert %{id: {:via, Registry, _}, shutdown: 7_000} = Crema.Producer.child_spec(opts)
    producer = start_supervised!({Crema.Producer, opts})
    assert GenServer.whereis(via.(:producer)) == producer
    handler = {Handler, bootstrap_servers: bootstrap, name: via.(:consumer), args: self()}
    start_supervised!(handler)

    # By their names, and by those of the children.
    assert :ok = Crema.await_ready(via.(:consumer), 20_000)
    assert {:ok, _} = Crema.produce(via.(:producer), %{topic: "supervised", value: "one"})
    assert_receive {:handled, "one"}, 20_000
    assert {:ok, _} = Crema.commit(via.(:consumer))
    assert :ok = stop_supervised!(via.(:consumer))
    assert_received {:ended, :stopped}
    assert {:error, {:not_found, _}} = Crema.commit(via.(:consumer))
    assert :ok = stop_supervised!(via.(:producer))
    refute Process.alive?(producer)
  end

  test "a child may be told what Supervisor.child_spec/2 would tell it", %{bootstrap: bootstrap} do
    opts = [bootstrap_servers: bootstrap]

    for {module, opts} <- [
          {Crema.Producer, opts},
          {Crema.Consumer, opts ++ [group: "a", topics: "a", handler: Handler]},
          {Crema.Pool, opts},
          {Crema.Cluster, []},
          {Handler, opts}
        ],
        opts <- [opts, Map.new(opts)],
        of_child = [id: :told, restart: :permanent, shutdown: 1],
        told = if(is_map(opts), do: Map.merge(opts, Map.new(of_child)), else: of_child ++ opts) do
      plain = module.child_spec(opts)
      spec = module.child_spec(told)
      assert Map.merge(plain, Map.new(of_child)) |> Map.delete(:start) == Map.delete(spec, :start)
      assert elem(spec.start, 0) == elem(plain.start, 0)
    end

    # Two of a kind, as :id tells them apart.
    [a, b] = for id <- [:a, :b], do: start_supervised!({Crema.Producer, [id: id] ++ opts})
    assert a != b
    assert :ok = stop_supervised!(:a)
    assert {:ok, _} = Crema.produce(b, %{topic: "supervised", value: "two"})
  end
end
