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
end
