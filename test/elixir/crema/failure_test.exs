defmodule Crema.FailureTest do
  use ExUnit.Case, async: true

  defmodule NotAnOrder do
    defexception message: "not an order"
  end

  defmodule Handler do
    # Raises at some messages; the other consumer gets what became of them.
    use Crema.Consumer

    @impl true
    def handle_message(%{topic: "orders", value: "bad"}, _test), do: raise(NotAnOrder)

    def handle_message(message, test) do
      send(test, {:handled, message})
      {:ack, test}
    end
  end

  test "a policy goes by an exception's module, and a dead letter tells its origin" do
    topics = %{"orders" => 1, "orders-dead" => 1}
    cluster = start_supervised!({Crema.Cluster, topics: topics})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    shop = [topics: ["orders"], group: "shop", bootstrap_servers: bootstrap, args: self()]

    policies = [
      failures: [{NotAnOrder, retries: 0, then: :dead_letter}],
      dead_letter: [topic: "orders-dead"]
    ]

    start_supervised!({Handler, shop ++ policies}, id: :shop)
    dead = [topics: ["orders-dead"], group: "dead", bootstrap_servers: bootstrap, args: self()]
    start_supervised!({Handler, dead}, id: :dead)

    for value <- ["bad", "good"] do
      {:ok, _} = Crema.produce(producer, %{topic: "orders", key: "k", value: value})
    end

    assert_receive {:handled, %{topic: "orders", value: "good"} = good}, 20_000
    assert_receive {:handled, %{topic: "orders-dead", value: "bad", key: "k"} = letter}, 20_000

    assert {:ok, %{topic: "orders", offset: 0, attempts: 1} = origin} =
             Crema.DeadLetter.origin(letter)

    assert origin.reason =~ "Crema.FailureTest.NotAnOrder"
    assert Crema.DeadLetter.origin(good) == :none
  end

  test "the log and the error tell what Elixir tells" do
    cluster = start_supervised!({Crema.Cluster, topics: %{"orders" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    {:ok, _} = Crema.produce(producer, %{topic: "orders", value: "bad"})

    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{config: self(), level: :error})
    on_exit(fn -> :logger.remove_handler(__MODULE__) end)
    stop = [failures: [retries: 0, then: :stop], topics: ["orders"], bootstrap_servers: bootstrap]
    start_supervised!({Handler, [group: "raising"] ++ stop}, id: :raising)
    odd = [name: :odd, group: "odd", handler: fn _ -> {:done, "secret"} end]
    start_supervised!({Crema.Consumer, odd ++ stop})

    assert_receive {:log,
                    "crema consumer <<\"raising\">>: the handler of orders [0] crashed" <> raised},
                   20_000

    assert raised =~
             "\n** (Crema.FailureTest.NotAnOrder) not an order\n    test/elixir/crema/failure"

    assert_receive {:log, "crema consumer odd: handler_failed: the consumer stops" <> stops},
                   20_000

    assert stops =~ ~s(: anonymous fn/1 in Crema.FailureTest.)
    assert stops =~ ~s( returned {:done, "..."}, but may return: :ok, :ack, {:ack, up_to}, )
  end

  # Called by the logger.
  def log(%{msg: {format, args}}, %{config: test}) when is_list(format) do
    send(test, {:log, format |> :io_lib.format(args) |> IO.chardata_to_string()})
  end

  def log(_event, _config), do: :ok
end
