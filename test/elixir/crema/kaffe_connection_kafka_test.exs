defmodule Crema.KaffeConnectionKafkaTest do
  # Kaffe's ways to connect, on real brokers: scripts/kafka run -- mix test --only kafka.
  # Configuration and variables are the whole VM's.
  use ExUnit.Case, async: false

  alias Crema.Kaffe.Producer
  alias Crema.KaffeSupport, as: Kaffe

  @moduletag :kafka

  setup do
    {:ok, topic: "connected-#{System.os_time()}"}
  end

  # What a message is for that is produced so.
  defp produce(topic, own) do
    Kaffe.configure(producer: [topics: [topic], allow_topic_auto_creation: true] ++ own)
    :ok = Producer.produce_sync("key", "value")
    # The next one has another configuration.
    Supervisor.terminate_child(:crema_sup, Producer)
  end

  test "ssl and sasl connect, each and together", %{topic: topic} do
    var = &System.fetch_env!("KAFKA_" <> &1)
    ca = [cacertfile: var.("CA")]
    files = ca ++ [certfile: var.("CLIENT_CERT"), keyfile: var.("CLIENT_KEY")]
    sasl = %{mechanism: :plain, login: var.("SASL_USERNAME"), password: var.("SASL_PASSWORD")}

    for own <- [
          [endpoints: Kaffe.endpoints(var.("TLS")), ssl: ca],
          [endpoints: "kafka+ssl://" <> var.("MTLS"), ssl: files],
          [endpoints: Kaffe.endpoints(var.("SASL")), sasl: sasl],
          [endpoints: Kaffe.endpoints(var.("SASLTLS")), sasl: sasl, ssl: ca]
        ] do
      assert :ok = produce(topic, own)
    end

    read = [bootstrap_servers: System.fetch_env!("CREMA_TEST_BOOTSTRAP"), topic: topic]
    assert Enum.count(Crema.stream(read)) == 4
  end

  test "heroku_kafka_env connects, and verifies the brokers", %{topic: topic} do
    file = &File.read!(Path.join(System.fetch_env!("KAFKA_HEROKU_DIR"), &1))

    change(%{
      "KAFKA_URL" => "kafka+ssl://" <> System.fetch_env!("KAFKA_HEROKU"),
      "KAFKA_TRUSTED_CERT" => file.("ca.pem"),
      "KAFKA_CLIENT_CERT" => file.("client.pem"),
      "KAFKA_CLIENT_CERT_KEY" => file.("client.key"),
      "KAFKA_PREFIX" => "amber-"
    })

    assert :ok = produce(topic, heroku_kafka_env: true)

    read = [
      bootstrap_servers: System.fetch_env!("CREMA_TEST_BOOTSTRAP"),
      topic: "amber-" <> topic
    ]

    assert [%{key: "key", value: "value"}] = Enum.to_list(Crema.stream(read))

    change(%{"KAFKA_TRUSTED_CERT" => file.("other-ca.pem")})
    test = self()
    tell = fn _name, _numbers, error, nil -> send(test, error) end
    :ok = :crema_events.attach(__MODULE__, [[:crema, :client, :error]], tell, nil)
    on_exit(fn -> :crema_events.detach(__MODULE__) end)
    Kaffe.configure(producer: [topics: [topic], heroku_kafka_env: true])
    assert :ok = Producer.start_producer_client()
    assert_receive %{code: :ssl, message: message}, 20_000
    assert message =~ "comes from an authority that is not trusted"
  end

  defp change(variables) do
    before = Map.new(variables, fn {name, _value} -> {name, System.get_env(name)} end)
    :ok = System.put_env(variables)
    on_exit(fn -> System.put_env(before) end)
  end
end
