defmodule Crema.SaslTest do
  use ExUnit.Case, async: true

  @sasl ["security.protocol": "sasl_plaintext"]

  test "a producer that runs gets another password" do
    kafka = @sasl ++ ["sasl.mechanism": "PLAIN", "sasl.username": "app", "sasl.password": "one"]
    producer = start_supervised!({Crema.Producer, bootstrap_servers: "127.0.0.1:1", kafka: kafka})

    assert :ok = Crema.Sasl.set_credentials(producer, %{username: "app", password: "two"})

    assert :ok =
             Crema.Sasl.set_credentials(producer, username: "app", password: fn -> "three" end)

    assert {:error, {:bad_options, _}} = Crema.Sasl.set_credentials(producer, %{})
  end

  test "a function gets the tokens" do
    test = self()

    token = fn %{attempt: attempt} = about ->
      send(test, {:asked, attempt})
      Crema.Sasl.unsecured(%{principal: "me"}).(about)
    end

    opts = [bootstrap_servers: "127.0.0.1:1", oauth_token: token, kafka: @sasl]
    start_supervised!({Crema.Producer, opts})
    assert_receive {:asked, 1}, 10_000
  end
end
