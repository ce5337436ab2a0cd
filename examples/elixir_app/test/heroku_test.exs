defmodule HerokuTest do
  # With nothing but Heroku's variables; `scripts/kafka run --heroku` of crema sets them, and
  # OTHER_TRUSTED_CERT, an authority that has nothing to do with the brokers. Variables are the
  # whole VM's: nothing else runs meanwhile.
  use ExUnit.Case, async: false

  @moduletag :heroku
  @moduletag :capture_log

  test "a thousand orders are served, and only the brokers know of the prefix" do
    prefix = System.fetch_env!("KAFKA_PREFIX")
    batch = "heroku-#{System.os_time()}"
    orders = for n <- 1..1_000, do: {"guest #{n}", "espresso"}
    topic = prefix <> "orders"

    :ok = Cafe.subscribe(batch)
    assert {:ok, results} = Cafe.order(batch, orders)
    assert Enum.all?(results, &match?({:ok, %{topic: ^topic}}, &1))

    served =
      for _ <- orders do
        assert_receive {:served, %{topic: "orders"} = order}, 20_000
        {order.key, order.value}
      end

    assert Enum.sort(served) == Enum.sort(orders)
    assert_committed(prefix <> "baristas", topic)
  end

  test "brokers are refused for their names only where these are checked" do
    assert refusal(Crema.Producer, check_names()) =~ "is not for the name 127.0.0.1"
  end

  test "brokers of another authority are refused, whether their names are checked or not" do
    change(%{"KAFKA_TRUSTED_CERT" => System.fetch_env!("OTHER_TRUSTED_CERT")})

    for names <- [[], check_names()],
        {module, opts} <- [
          {Crema.Producer, []},
          {Cafe.Barista, group: "baristas", topics: ["orders"]}
        ] do
      assert refusal(module, names ++ opts) =~ "comes from an authority that is not trusted"
    end
  end

  test "brokers refuse who has no certificate" do
    change(%{"KAFKA_CLIENT_CERT" => nil, "KAFKA_CLIENT_CERT_KEY" => nil})
    assert refusal(Crema.Producer, []) =~ ~r/alert .*certificate/
  end

  # The brokers have the group by its whole name, and with it what was served.
  defp assert_committed(group, topic) do
    {:ok, _committed} = Crema.Control.commit(Cafe.Barista)
    opts = [env: :heroku, prefix: nil, group: group, topics: ["elsewhere"]]
    stranger = start_supervised!({Cafe.Barista, opts})

    {:ok, partitions} = Crema.Control.committed(stranger, for(n <- 0..3, do: {topic, n}))
    assert Enum.sum(for %{offset: n} when is_integer(n) <- partitions, do: n) >= 1_000
  end

  defp check_names, do: [kafka: ["ssl.endpoint.identification.algorithm": "https"]]

  # Why the brokers and a client do not come together.
  defp refusal(module, opts) do
    {test, ref} = {self(), make_ref()}
    tell = fn _name, _numbers, error, nil -> send(test, {ref, error}) end
    :ok = :crema_events.attach(ref, [[:crema, :client, :error]], tell, nil)
    client = start_supervised!({module, [env: :heroku] ++ opts}, id: ref)

    assert_receive {^ref, %{code: code, message: message}} when code in [:ssl, :transport], 20_000
    refute Crema.status(client).connected
    :ok = :crema_events.detach(ref)
    :ok = stop_supervised(ref)
    message
  end

  defp change(variables) do
    before = Map.new(variables, fn {name, _} -> {name, System.get_env(name)} end)
    :ok = System.put_env(variables)
    on_exit(fn -> System.put_env(before) end)
  end
end
