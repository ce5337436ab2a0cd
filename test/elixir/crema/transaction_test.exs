defmodule Crema.TransactionTest do
  use ExUnit.Case, async: true

  defmodule Silent do
    use Crema.Consumer

    @impl true
    def handle_message(message, state) do
      send(state, {:handled, message})
      {:ack, state}
    end
  end

  setup_all do
    cluster = start_supervised!({Crema.Cluster, topics: %{"sales" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    options = [bootstrap_servers: bootstrap, kafka: ["transactional.id": "till"]]
    {:ok, bootstrap: bootstrap, producer: start_supervised!({Crema.Producer, options})}
  end

  test "a function is committed, aborted, or raises", %{producer: producer} do
    assert {:ok, {:ok, %{offset: offset}}} =
             Crema.transaction(producer, &Crema.produce(&1, %{topic: "sales", value: "1"}))

    assert is_integer(offset)
    assert {:aborted, :why} = Crema.transaction(producer, &Crema.abort(&1, :why), timeout: 5_000)

    assert_raise ArgumentError, "mine", fn ->
      Crema.transaction(producer, fn _tx -> raise ArgumentError, "mine" end)
    end

    assert {:ok, {:error, {:in_transaction, _}}} =
             Crema.transaction(producer, fn _tx -> Crema.Producer.stop(producer) end)
  end

  test "offsets are part of it", %{producer: producer, bootstrap: bootstrap} do
    {:ok, _} = Crema.produce(producer, %{topic: "sales", value: "2"})

    consumer =
      start_supervised!(
        {Silent,
         bootstrap_servers: bootstrap,
         group: "silent",
         topics: ["sales"],
         commit: :transaction,
         args: self()}
      )

    assert_receive {:handled, message}, 20_000
    assert {:ok, metadata} = Crema.group_metadata(consumer)

    assert {:ok, [:ok, :ok]} =
             Crema.transaction(producer, fn tx ->
               [
                 Crema.send_offsets(tx, metadata, [message]),
                 Crema.send_offsets(tx, consumer, [{"sales", 0, message.offset + 1}])
               ]
             end)
  end
end
